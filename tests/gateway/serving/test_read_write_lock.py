"""A lock is held by many readers or by one writer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.serving.read_write_lock import ReadWriteLock


class Holders:
    """Tasks that hold a lock until they are told to release it."""

    def __init__(self) -> None:
        self.lock = ReadWriteLock()
        self.held: list[str] = []
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def start(self, name: str, *, write: bool = False) -> None:
        """Start a task, which holds the lock as soon as it can."""
        over = asyncio.Event()
        hold = self.lock.write if write else self.lock.read

        async def run() -> None:
            async with hold():
                self.held.append(name)
                try:
                    await over.wait()
                finally:
                    self.held.remove(name)

        self._tasks[name] = asyncio.create_task(run()), over
        await settled()

    async def release(self, name: str, end: Callable[[asyncio.Task[None]], object] | None = None) -> None:
        """Have a task release the lock."""
        task, over = self._tasks.pop(name)
        over.set()
        if end is not None:
            end(task)
        await asyncio.gather(task, return_exceptions=True)
        await settled()


async def settled() -> None:
    """Let all tasks run as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_writer_waits_for_the_readers_and_others_wait_for_it() -> None:
    holders = Holders()
    await holders.start("a")
    await holders.start("b")
    assert holders.held == ["a", "b"]
    await holders.start("writer", write=True)
    await holders.start("c")
    await holders.release("a")
    assert holders.held == ["b"]
    await holders.release("b")
    assert holders.held == ["writer"]
    await holders.release("writer")
    assert holders.held == ["c"]


async def test_readers_who_wait_come_before_the_next_writer() -> None:
    holders = Holders()
    for number in range(3):
        await holders.start(f"writer {number}", write=True)
    await holders.start("a")
    await holders.start("b")
    assert holders.held == ["writer 0"]
    await holders.release("writer 0")
    assert holders.held == ["a", "b"]
    await holders.start("c")  # comes while a writer waits
    await holders.release("a")
    await holders.release("b")
    assert holders.held == ["writer 1"]
    await holders.release("writer 1")
    assert holders.held == ["c"]
    await holders.release("c")
    assert holders.held == ["writer 2"]


async def test_a_waiter_that_is_cancelled_holds_up_nobody() -> None:
    holders = Holders()
    await holders.start("a")
    await holders.start("writer", write=True)
    await holders.start("b")
    await holders.release("writer", asyncio.Task.cancel)
    assert holders.held == ["a", "b"]
    await holders.release("a")
    await holders.release("b", asyncio.Task.cancel)
    await holders.start("next", write=True)
    assert holders.held == ["next"]


async def test_a_reader_is_told_whether_there_was_another_at_the_same_time() -> None:
    lock = ReadWriteLock()
    async with lock.read() as first:
        assert not first()
        async with lock.read() as second:
            assert first()
            assert second()
        assert first()  # although the other has gone
    async with lock.write():
        pass
    async with lock.read() as next_one:
        assert not next_one()
    assert not next_one()
