"""Calls that share batches on a model server, and calls that have none beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Alone:
    """Lets calls run together, or one by itself.

    A model server joins the calls that it gets at the same time, and one bad row fails all of them. A call that failed
    so is repeated alone: then only its own rows can be to blame.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Run beside others, but not beside a call that runs alone."""
        async with self._one:
            self._running += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run when the calls before have ended, and hold up those that come."""
        async with self._one:
            await self._idle.wait()
            yield
