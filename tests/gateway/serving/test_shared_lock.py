"""A lock is held by many together or by one alone, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.serving.shared_lock import SharedLock


class Holders:
    """Tasks that hold a lock until they are told to release it."""

    def __init__(self) -> None:
        self.lock = SharedLock()
        self.held: list[str] = []
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def start(self, name: str, *, alone: bool = False) -> None:
        """Start a task, which holds the lock as soon as it can."""
        over = asyncio.Event()
        hold = self.lock.alone if alone else self.lock.shared

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


async def test_one_alone_waits_for_those_who_share_it_and_others_wait_for_it() -> None:
    holders = Holders()
    await holders.start("a")
    await holders.start("b")
    assert holders.held == ["a", "b"]
    await holders.start("alone", alone=True)
    await holders.start("c")
    await holders.release("a")
    assert holders.held == ["b"]
    await holders.release("b")
    assert holders.held == ["alone"]
    await holders.release("alone")
    assert holders.held == ["c"]


async def test_those_who_wait_to_share_it_come_before_the_next_alone() -> None:
    holders = Holders()
    for number in range(3):
        await holders.start(f"alone {number}", alone=True)
    await holders.start("a")
    await holders.start("b")
    assert holders.held == ["alone 0"]
    await holders.release("alone 0")
    assert holders.held == ["a", "b"]
    await holders.start("c")  # comes while one waits to be alone
    await holders.release("a")
    await holders.release("b")
    assert holders.held == ["alone 1"]
    await holders.release("alone 1")
    assert holders.held == ["c"]
    await holders.release("c")
    assert holders.held == ["alone 2"]


async def test_a_waiter_that_is_cancelled_holds_up_nobody() -> None:
    holders = Holders()
    await holders.start("a")
    await holders.start("alone", alone=True)
    await holders.start("b")
    await holders.release("alone", asyncio.Task.cancel)
    assert holders.held == ["a", "b"]
    await holders.release("a")
    await holders.release("b", asyncio.Task.cancel)
    await holders.start("next", alone=True)
    assert holders.held == ["next"]


async def test_a_holder_is_told_whether_there_was_another_at_the_same_time() -> None:
    lock = SharedLock()
    async with lock.shared() as first:
        assert not first()
        async with lock.shared() as second:
            assert first()
            assert second()
        assert first()  # although the other has gone
    async with lock.alone():
        pass
    async with lock.shared() as next_one:
        assert not next_one()
    assert not next_one()
