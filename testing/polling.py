"""Wait for a condition: the one place that polls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 120.0
"""Long enough for a machine that is busy with other things. A test that passes never waits for it."""

INTERVAL_SECONDS = 0.01


def until(condition: Callable[[], T], what: str = "the condition", seconds: float = DEADLINE_SECONDS) -> T:
    """Poll until a condition holds.

    Args:
        condition: Called again and again; it holds when it returns something true.
        what: Names the condition in the error.
        seconds: How long to wait.

    Returns:
        What the condition returned.

    Raises:
        TimeoutError: It did not hold in time.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not hold within {seconds:.0f} s")
        time.sleep(INTERVAL_SECONDS)
    return value


async def until_async(condition: Callable[[], T], what: str = "the condition", seconds: float = DEADLINE_SECONDS) -> T:
    """Do the same without blocking the event loop."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not hold within {seconds:.0f} s")
        await asyncio.sleep(INTERVAL_SECONDS)
    return value
