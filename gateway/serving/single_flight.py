"""Calls to a model server that several requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Makes one call at a time for each key, whoever asks, and keeps its outcome for a while.

    So the model server gets no more of these calls however often strangers ask.

    Args:
        keep_seconds: How long an outcome is kept, be it a result or an error.
    """

    def __init__(self, keep_seconds: float = 0.0) -> None:
        self._keep_seconds = keep_seconds
        self._calls: dict[K, asyncio.Task[T]] = {}

    def start(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The call for a key that is under way or has just ended; without one, a new call."""
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(call())
            task.add_done_callback(partial(self._ended, key))
        return task

    async def result(self, key: K, call: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
        """The result of the call for a key.

        Raises:
            DeadlineExceeded: It has none yet. The call goes on for the others who wait.
            GatewayError: As the call raises it.
        """
        return await joined(self.start(key, call), deadline)

    async def close(self) -> None:
        """Cancel the calls under way."""
        tasks = list(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: K, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waited may have gone, and then asyncio would log that nobody has seen it
        if self._keep_seconds:
            asyncio.get_running_loop().call_later(self._keep_seconds, self._calls.pop, key)
        else:
            del self._calls[key]


async def joined(task: asyncio.Task[T], deadline: Deadline) -> T:
    """Wait for a shared call; unlike `asyncio.wait_for`, this leaves it alone when the waiting ends early.

    Raises:
        DeadlineExceeded: It has not ended in time.
        GatewayError: As the call raises it.
    """
    done, _ = await asyncio.wait({task}, timeout=deadline.remaining())
    if not done:
        raise DeadlineExceeded("The model server did not answer before the deadline of the request.")
    return task.result()
