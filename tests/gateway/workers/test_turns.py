"""Work waits in turns between callers and between requests."""

from __future__ import annotations

import asyncio

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded
from gateway.workers.turns import HALVING_SECONDS, MAX_WAIT_SECONDS, TurnQueue, Turns
from testing.polling import DEADLINE_SECONDS


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.workers.turns.time", clock)
    return clock


def test_callers_take_turns_whatever_they_have_queued() -> None:
    queue: TurnQueue[str] = TurnQueue()
    for number in range(3):
        queue.put(("greedy", 1), f"greedy {number}")
    queue.put(("modest", 1), "modest 0")
    assert [queue.take() for _ in range(4)] == ["greedy 0", "modest 0", "greedy 1", "greedy 2"]
    assert not queue


def test_requests_of_one_caller_take_turns_too() -> None:
    queue: TurnQueue[str] = TurnQueue()
    for number in range(3):
        queue.put(("a", "batch"), f"batch {number}")
    queue.put(("a", "photo"), "photo")
    assert [queue.take() for _ in range(4)] == ["batch 0", "photo", "batch 1", "batch 2"]


@pytest.mark.usefixtures("clock")
def test_callers_who_used_less_cpu_time_come_first() -> None:
    queue: TurnQueue[str] = TurnQueue()
    for caller, seconds in (("heavy", 2.0), ("light", 0.5), ("heavy", 1.0)):
        queue.charge(caller, seconds)
    for caller in ("heavy", "light", "new", "heavy", "light"):
        queue.put((caller, 1), caller)
    assert queue.cpu_lead("heavy") == 3.0
    assert queue.cpu_lead("new") == -0.5
    assert [queue.take() for _ in range(5)] == ["new", "light", "light", "heavy", "heavy"]
    assert queue.cpu_lead("heavy") < 0  # nobody waits


def test_a_caller_who_has_used_cpu_time_is_not_overtaken_for_ever(clock: Clock) -> None:
    queue: TurnQueue[str] = TurnQueue()
    queue.charge("old", 40.0)
    queue.put(("old", 1), "old")
    for number in range(10):
        queue.put((f"new {number}", 1), f"new {number}")
    assert queue.take() == "new 0"
    clock.now += MAX_WAIT_SECONDS + 0.1
    for number in range(10, 20):
        queue.put((f"new {number}", 1), f"new {number}")
    taken = [queue.take() for _ in range(len(queue))]
    assert taken.index("new 9") < taken.index("old") < taken.index("new 10")


def test_used_cpu_time_halves_with_the_clock(clock: Clock) -> None:
    queue: TurnQueue[str] = TurnQueue()
    queue.charge("a", 400.0)
    queue.charge("b", 0.02)
    assert [queue.used(caller) for caller in "ab"] == [400.0, 0.02]
    clock.now += HALVING_SECONDS
    assert [queue.used(caller) for caller in "ab"] == [200.0, 0.0]
    queue.charge("b", 1.0)
    clock.now += 2 * HALVING_SECONDS
    assert [queue.used(caller) for caller in "ab"] == [50.0, 0.25]
    clock.now += 12 * 3600
    for caller in ("a", "new"):
        queue.put((caller, 1), caller)
    assert [queue.take() for _ in range(2)] == ["a", "new"]


def test_what_is_discarded_is_not_taken() -> None:
    queue: TurnQueue[str] = TurnQueue()
    queue.put(("a", 1), "first")
    queue.put(("a", 1), "second")
    queue.discard(("a", 1), "first")
    queue.discard(("a", 1), "never there")
    queue.discard(("nobody", 1), "second")
    assert len(queue) == 1
    assert queue.take() == "second"
    with pytest.raises(IndexError):
        queue.take()


def test_a_request_on_hold_is_passed_over_until_every_hold_ends() -> None:
    queue: TurnQueue[str] = TurnQueue()
    batch, photo = ("a", "batch"), ("a", "photo")
    queue.put(batch, "batch 0")
    queue.put(photo, "photo 0")
    assert queue.others(batch)
    queue.hold(batch)
    queue.hold(batch)
    queue.put(batch, "batch 1")
    queue.put(batch, "batch 2")
    queue.discard(batch, "batch 1")
    assert len(queue) == 1
    assert queue.take() == "photo 0"
    queue.resume(batch)
    with pytest.raises(IndexError):
        queue.take()
    queue.resume(batch)
    assert not queue.others(batch)
    queue.put(photo, "photo 1")
    assert [queue.take() for _ in range(3)] == ["batch 0", "photo 1", "batch 2"]


async def test_a_hold_keeps_a_request_from_free_slots_until_it_ends() -> None:
    turns = Turns(1)
    turn = ("a", 1)
    turns.hold(turn)
    waiter = asyncio.create_task(turns.acquire(turn))
    await turns.acquire(("b", 1))
    turns.release()
    assert not waiter.done()
    turns.resume(turn)
    await asyncio.wait_for(waiter, DEADLINE_SECONDS)


async def test_slots_go_to_the_next_in_turn() -> None:
    turns = Turns(1)
    await turns.acquire(("holder", 0))
    order: list[str] = []

    async def wait(caller: str, name: str) -> None:
        async with turns.slot((caller, name), Deadline.after(10)):
            order.append(name)

    waiting = [asyncio.create_task(wait("a", "a1")), asyncio.create_task(wait("a", "a2"))]
    waiting.append(asyncio.create_task(wait("b", "b1")))
    await asyncio.sleep(0)
    assert turns.waiting == 3
    turns.release()
    await asyncio.gather(*waiting)
    assert order == ["a1", "b1", "a2"]


async def test_a_waiter_that_is_cancelled_leaves_its_slot_to_the_next() -> None:
    turns = Turns(1)
    await turns.acquire(("holder", 0))
    gone = asyncio.create_task(turns.acquire(("a", 1)))
    stays = asyncio.create_task(turns.acquire(("b", 1)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    turns.release()
    await asyncio.wait_for(stays, 10)


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_hands_it_on() -> None:
    turns = Turns(1)
    await turns.acquire(("holder", 0))
    gone = asyncio.create_task(turns.acquire(("a", 1)))
    await asyncio.sleep(0)
    turns.release()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await asyncio.wait_for(turns.acquire(("b", 1)), 10)


async def test_a_turn_is_waited_for_no_longer_than_the_deadline() -> None:
    turns = Turns(1)
    await turns.acquire(("holder", 0))
    with pytest.raises(DeadlineExceeded):
        async with turns.slot(("a", 1), Deadline.after(0.01)):
            raise AssertionError
    assert turns.waiting == 0
