"""Calls to a model server that several requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded

MAX_CALLS = 16
"""Maximum number of calls at a time, so that lookups of many different names leave room on the model server."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Makes one call at a time for each key, and keeps its outcome, be it a result or an error, for a while.

    Callers who ask for the same key share one call. For different keys, `MAX_CALLS` run at a time, and further ones
    wait.
    """

    def __init__(self, keep_seconds: float = 0.0) -> None:
        self._keep_seconds = keep_seconds
        self._calls: dict[K, asyncio.Task[T]] = {}
        self._slots = asyncio.Semaphore(MAX_CALLS)

    def start(self, key: K, call: Callable[[], Coroutine[Any, Any, T]], *, at_once: bool = False) -> asyncio.Task[T]:
        """The call for a key that is in progress or has just ended; without one, a new call.

        With `at_once`, a new call starts even if `MAX_CALLS` others are in progress.
        """
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(call() if at_once else self._in_a_slot(call))
            task.add_done_callback(partial(self._ended, key))
        return task

    async def close(self) -> None:
        """Cancel the calls in progress."""
        tasks = list(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_a_slot(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._slots:
            return await call()

    def _ended(self, key: K, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # mark the error as retrieved, because asyncio would log it if all callers are gone
        if self._keep_seconds:
            asyncio.get_running_loop().call_later(self._keep_seconds, self._calls.pop, key)
        else:
            del self._calls[key]


async def joined(task: asyncio.Task[T], deadline: Deadline) -> T:
    """Wait for a shared call; unlike `asyncio.wait_for`, this leaves it alone when the waiting ends early.

    Raises:
        DeadlineExceeded: It did not end in time.
    """
    done, _ = await asyncio.wait({task}, timeout=deadline.remaining())
    if not done:
        raise DeadlineExceeded("The model server did not answer before the deadline of the request.")
    return task.result()
