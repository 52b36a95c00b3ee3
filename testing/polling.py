"""Wait for a condition by polling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 120.0
"""Generous deadline for busy machines. Tests that pass never wait that long."""

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
    """Like `until`, without blocking the event loop."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not hold within {seconds:.0f} s")
        await asyncio.sleep(INTERVAL_SECONDS)
    return value
