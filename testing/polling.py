"""Wait for a condition by polling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 120.0
"""Generous deadline for busy machines. Tests that pass never wait that long."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.1
"""In seconds. The pause is a tenth of the time waited so far: many conditions send a request, and with one every 10 ms,
they took a tenth of the CPU time of tests that wait for processes."""


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
    began = time.monotonic()
    while not (value := condition()):
        pause = _pause(time.monotonic() - began, what, seconds)
        time.sleep(pause)
    return value


async def until_async(condition: Callable[[], T], what: str = "the condition", seconds: float = DEADLINE_SECONDS) -> T:
    """Like `until`, without blocking the event loop."""
    began = time.monotonic()
    while not (value := condition()):
        pause = _pause(time.monotonic() - began, what, seconds)
        await asyncio.sleep(pause)
    return value


def _pause(waited: float, what: str, seconds: float) -> float:
    if waited > seconds:
        raise TimeoutError(f"{what} did not hold within {seconds:.0f} s")
    return min(max(SHORTEST_PAUSE, waited / 10), LONGEST_PAUSE)
