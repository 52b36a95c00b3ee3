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
from tests.gateway.workers.pool_jobs import ARGUMENTS, decode, linux, working


def slow_job(pool: WorkerPool, starts: list[str]) -> asyncio.Task[Message]:
    """A slow image of the caller "slow", which notes each of its starts."""
    deadline = Deadline.after(DEADLINE_SECONDS)
    turn = ("slow", 0)
    return asyncio.create_task(
        pool.run("image_pixels", ARGUMENTS, [[slow_png()]], turn, deadline, lambda: starts.append("slow"))
    )


async def test_a_slow_image_lets_the_others_pass(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 2, 60, kept=1))
    slow = asyncio.create_task(decode(pool, [slow_png()], "slow", seconds=2 * DEADLINE_SECONDS))
    os.kill(await working(fork_server), signal.SIGSTOP)  # so it outlasts the others
    for _ in range(3):
        assert await decode(pool, [photo()], "quick")
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_a_caller_who_has_used_more_cpu_time_makes_room_and_starts_again(
    make: Make, fork_server: ForkServer
) -> None:
    pool = make(Capacity(1, 0, 0.1, kept=1))
    starts: list[str] = []
    slow = slow_job(pool, starts)
    first = await working(fork_server)
    assert await decode(pool, [photo()], "quick")
    await until_async(lambda: has_ended(first))
    assert await slow
    assert len(starts) == 2


async def test_a_job_that_has_to_make_room_twice_fails(make: Make, fork_server: ForkServer) -> None:
    pool = make(Capacity(1, 0, 0.1, kept=1))
    slow = asyncio.create_task(decode(pool, [slow_png()], "slow"))
    for _ in range(2):
        worker = await working(fork_server)
        assert await decode(pool, [photo()], "quick")
        await until_async(partial(has_ended, worker))
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
    monkeypatch.setattr(pool, "_cpu_lead", lambda running: displaced.update([running.caller]) or lead(running))
    slow = slow_job(pool, starts)
    worker = psutil.Process(await working(fork_server))
    quick = asyncio.create_task(decode(pool, [photo()], "quick"))
    # The event loop stands still until the worker has replied: then its reply and its time slice are due together, once
    # the other waits.
    until(lambda: worker.status() == psutil.STATUS_ZOMBIE)  # it has grown, so it ends after its reply
    assert await slow
    assert await quick
    assert displaced["slow"]
    assert len(starts) == 1
