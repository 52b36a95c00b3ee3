"""Jobs that use much CPU time make room for others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from functools import partial

import psutil
import pytest

from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.workers.fork_server import ForkServer
from gateway.workers.messages import Message
from gateway.workers.pool import Capacity, WorkerPool
from testing.photos import photo, slow_png
from testing.polling import DEADLINE_SECONDS, until, until_async
from testing.processes import has_ended
from tests.gateway.workers.conftest import Make
from tests.gateway.workers.pool_jobs import ARGUMENTS, decode, end_idle, linux, stop, stopped


def slow_job(pool: WorkerPool, starts: list[str]) -> asyncio.Task[Message]:
    """A slow image of the caller "slow". The list of its starts is emptied first: the job may be begun again."""
    starts.clear()
    deadline = Deadline.after(DEADLINE_SECONDS)
    turn = ("slow", 0)
    return asyncio.create_task(
        pool.run("image_pixels", ARGUMENTS, [[slow_png()]], turn, deadline, lambda: starts.append("slow"))
    )


def begun(pool: WorkerPool, caller: str, side: int = 10_000, request: object = None) -> asyncio.Task[Message]:
    """A slow image of a caller."""
    return asyncio.create_task(decode(pool, [slow_png(side)], caller, 2 * DEADLINE_SECONDS, request))


async def test_a_slow_image_lets_the_others_pass(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 2, 60, kept=1))
    slow, _ = await stopped(fork_server, pool, lambda: begun(pool, "slow"))  # so it outlasts the others
    for _ in range(3):
        assert await decode(pool, [photo()], "quick")
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_a_batch_waits_for_its_slow_image_while_others_pass(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 2, 60, kept=1))
    seconds = 2 * DEADLINE_SECONDS
    slow, worker = await stopped(fork_server, pool, lambda: begun(pool, "a", request="batch"))
    next_image = asyncio.create_task(decode(pool, [photo()], "a", seconds, request="batch"))
    for _ in range(3):
        assert await decode(pool, [photo()], "a")
    assert not next_image.done()
    os.kill(worker, signal.SIGCONT)
    assert await slow
    assert await next_image


async def test_a_batch_that_was_held_back_comes_behind_callers_who_used_less_cpu_time(
    make: Make, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.workers.turns.MAX_WAIT_SECONDS", 3600.0)  # places do not depend on the machine's speed
    pool = make(Capacity(1, 1, 60, kept=1))
    deadline = Deadline.after(2 * DEADLINE_SECONDS)
    slow, worker = await stopped(fork_server, pool, lambda: begun(pool, "a", request="batch"))
    await pool._turns.acquire(("c", 0))
    pool._turns.charge("b", 0.05)
    starts: list[str] = []
    turns = [("a", "batch"), ("b", "photo")]
    waiting = [
        asyncio.create_task(
            pool.run("image_pixels", ARGUMENTS, [[photo()]], turn, deadline, partial(starts.append, turn[0]))
        )
        for turn in turns
    ]
    await until_async(lambda: pool._turns.waiting == 1)
    os.kill(worker, signal.SIGCONT)
    await slow
    pool._turns.release()
    await asyncio.gather(*waiting)
    assert starts == ["b", "a"]


async def test_a_worker_whose_job_made_room_is_used_again_if_it_kept_its_priority(
    make: Make, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.workers.pool.LOW_PRIORITY_SECONDS", DEADLINE_SECONDS)
    pool = make(Capacity(1, 2, 60, kept=2))
    slow, worker = await stopped(fork_server, pool, lambda: begun(pool, "slow", 4500))  # small: the worker may be kept
    assert await decode(pool, [photo()], "quick")
    os.kill(worker, signal.SIGCONT)
    assert await slow
    assert await decode(pool, [photo()], "slow")
    assert not has_ended(worker)


async def test_a_worker_whose_job_got_a_lower_priority_ends(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 2, 60, kept=2))
    slow, worker = await stopped(fork_server, pool, lambda: begun(pool, "slow", 4500))
    assert await decode(pool, [photo()], "quick")
    await until_async(lambda: pool._overtime[0].low_priority)
    os.kill(worker, signal.SIGCONT)
    assert await slow
    await until_async(lambda: has_ended(worker))


async def test_a_caller_who_has_used_more_cpu_time_makes_room_and_starts_again(
    make: Make, fork_server: ForkServer
) -> None:
    pool = make(Capacity(1, 0, 0.1, kept=1))
    starts: list[str] = []
    slow, first = await stopped(fork_server, pool, lambda: slow_job(pool, starts))
    assert await decode(pool, [photo()], "quick")
    await until_async(lambda: has_ended(first))
    assert await slow
    assert len(starts) == 2


async def test_a_job_that_has_to_make_room_twice_fails(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 0, 0.1, kept=1))
    second = None
    for _ in range(5):
        slow, first = await stopped(fork_server, pool, lambda: begun(pool, "slow"))
        assert await decode(pool, [photo()], "quick")
        await until_async(partial(has_ended, first))
        second = await stop(fork_server, slow)
        if second is not None:
            break
        assert await slow  # it was done before this process could stop it
        await end_idle(pool)
    assert second is not None
    assert await decode(pool, [photo()], "quick")
    await until_async(partial(has_ended, second))
    with pytest.raises(Overloaded, match="takes too long"):
        await slow


async def test_the_caller_who_has_used_less_cpu_time_comes_first(make: Make) -> None:
    pool = make()
    await decode(pool, [slow_png(2000)], "heavy")
    order: list[str] = []

    async def run(caller: str) -> None:
        await decode(pool, [photo()], caller)
        order.append(caller)

    async with pool._turns.slot(("other", 0), Deadline.after(DEADLINE_SECONDS)):
        waiting = [asyncio.create_task(run("heavy")), asyncio.create_task(run("light"))]
        await until_async(lambda: pool._turns.waiting == 2)
    await asyncio.gather(*waiting)
    assert order == ["light", "heavy"]


async def test_a_job_does_not_make_room_for_its_own_caller(make: Make) -> None:
    pool = make(Capacity(1, 0, 0.0, kept=1))
    order: list[str] = []

    async def run(data: bytes) -> None:
        await pool.run(
            "image_pixels",
            ARGUMENTS,
            [[data]],
            ("a", object()),
            Deadline.after(DEADLINE_SECONDS),
            lambda: order.append("start"),
        )
        order.append("end")

    await asyncio.gather(run(slow_png(4000)), run(photo()))
    assert order == ["start", "end"] * 2


@linux
async def test_a_job_is_answered_that_is_displaced_when_its_reply_has_come(
    make: Make, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(Capacity(1, 0, 0.0, kept=1))
    starts: list[str] = []
    displaced = Counter[str]()
    lead = pool._cpu_lead
    monkeypatch.setattr(pool, "_cpu_lead", lambda running: displaced.update([running.turn[0]]) or lead(running))
    slow, number = await stopped(fork_server, pool, lambda: slow_job(pool, starts))
    worker = psutil.Process(number)
    quick = asyncio.create_task(decode(pool, [photo()], "quick"))
    os.kill(number, signal.SIGCONT)
    # The event loop stands still until the worker has replied: then its reply and its time slice are due together, once
    # the other waits.
    until(lambda: worker.status() == psutil.STATUS_ZOMBIE)  # it has grown, so it ends after its reply
    assert await slow
    assert await quick
    assert displaced["slow"]
    assert len(starts) == 1
