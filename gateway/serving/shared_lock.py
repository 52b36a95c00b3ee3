"""A lock that many hold together, or one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class SharedLock:
    """A readers-writer lock.

    Neither kind starves the other: whoever has waited to hold it alone is followed by all who wait to share it.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._unused = asyncio.Event()
        self._unused.set()
        self._holders = 0
        self._count = 0

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Callable[[], bool]]:
        """Hold it beside others. The block gets a function that tells whether there has been another holder so far."""
        while not self._open.is_set():
            await self._open.wait()
        others = self._holders > 0
        self._holders += 1
        self._count += 1
        count = self._count
        self._unused.clear()
        try:
            yield lambda: others or self._count > count
        finally:
            self._holders -= 1
            if not self._holders:
                self._unused.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold it when those who share it have released it; others who come meanwhile wait."""
        async with self._one:
            self._open.clear()
            try:
                await self._unused.wait()
                yield
            finally:
                self._open.set()
