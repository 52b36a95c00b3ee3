"""A readers-writer lock for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class ReadWriteLock:
    """A lock that many readers hold together, or one writer alone.

    Neither kind starves the other: after a writer, all waiting readers follow.
    """

    def __init__(self) -> None:
        self._writer = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._unused = asyncio.Event()
        self._unused.set()
        self._readers = 0
        self._reads = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Callable[[], bool]]:
        """Hold it together with other readers. The block gets a function that tells whether there have been any."""
        while not self._open.is_set():
            await self._open.wait()
        others = self._readers > 0
        self._readers += 1
        self._reads += 1
        count = self._reads
        self._unused.clear()
        try:
            yield lambda: others or self._reads > count
        finally:
            self._readers -= 1
            if not self._readers:
                self._unused.set()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """Hold it alone, after all readers have released it. Others wait."""
        async with self._writer:
            self._open.clear()
            try:
                await self._unused.wait()
                yield
            finally:
                self._open.set()
