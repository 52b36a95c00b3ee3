"""Worker processes do their jobs, are killed when they must be, and are replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from PIL import Image

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ImageTooLarge, InvalidImage, Overloaded, UnsupportedImage
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import Limits
from gateway.workers.messages import Message
from gateway.workers.pool import LARGE_IMAGES, SMALL_IMAGES, Capacity, WorkerPool
from testing.photos import photo, slow_png
from testing.polling import DEADLINE_SECONDS, until, until_async
from testing.processes import has_ended

ORDINARY = Limits(memory_bytes=2**30, cpu_seconds=60)
ARGUMENTS = {
    "target": {"height": 4, "width": 6, "fit": "squash"},
    "pixel_format": {},
    "max_pixels": 10**9,
}
ONE = Capacity(1, 0, 0.0, kept=1)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux enforces these limits")


Make = Callable[..., WorkerPool]


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
async def make(fork_server: ForkServer) -> AsyncIterator[Make]:
    pools: list[WorkerPool] = []

    def make_pool(capacity: Capacity = ONE, limits: Limits = ORDINARY) -> WorkerPool:
        pools.append(WorkerPool(fork_server, capacity, limits, SMALL_IMAGES))
        return pools[-1]

    yield make_pool
    for pool in pools:
        await pool.close()


async def decode(
    pool: WorkerPool,
    pieces: Sequence[bytes],
    caller: str = "a",
    seconds: float = DEADLINE_SECONDS,
    request: object = None,
) -> Message:
    return await pool.run("image_pixels", ARGUMENTS, [pieces], (caller, request or object()), Deadline.after(seconds))


def children_of(pid: int) -> set[int]:
    return {
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    }


async def working(fork_server: ForkServer) -> int:
    """The number of the one worker, once it is at work on its job."""

    def busy() -> int | None:
        for child in psutil.Process(fork_server.pid).children() if fork_server.pid is not None else ():
            with suppress(psutil.NoSuchProcess):
                if child.cpu_times().user > 0.1:  # a worker that has nothing but small images to do uses less
                    return child.pid
        return None

    worker = await until_async(busy, "a worker is at work")
    assert worker is not None
    return worker


async def test_an_image_in_pieces_becomes_pixels(make: Make) -> None:
    data = photo("red", (60, 40))
    reply = await decode(make(), [data[:7], data[7:8], data[8:]])
    assert len(reply.buffers[0]) == 4 * 6 * 3
    assert Image.frombytes("RGB", (6, 4), reply.buffers[0]).getpixel((3, 2)) == (250, 20, 10)


async def test_what_is_wrong_with_an_image_comes_back_as_its_error(make: Make) -> None:
    pool = make()
    for data, error in ((b"no image", UnsupportedImage), (photo()[:-40], InvalidImage), (b"", InvalidImage)):
        with pytest.raises(error):
            await decode(pool, [data])
    assert await decode(pool, [photo()])


async def test_a_worker_is_used_again(make: Make, fork_server: ForkServer) -> None:
    pool = make()
    await decode(pool, [photo()])
    assert fork_server.pid is not None
    before = children_of(fork_server.pid)
    for _ in range(5):
        await decode(pool, [photo()])
    assert children_of(fork_server.pid) == before


async def test_a_job_is_killed_at_its_deadline_and_the_next_is_done(make: Make) -> None:
    pool = make()
    slow = slow_png()
    with pytest.raises(DeadlineExceeded):
        await decode(pool, [slow], seconds=0.2)
    assert await decode(pool, [photo()])


async def test_a_job_whose_caller_has_gone_is_killed(make: Make, fork_server: ForkServer) -> None:
    pool = make()
    task = asyncio.create_task(decode(pool, [slow_png()]))
    worker = await working(fork_server)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until_async(lambda: has_ended(worker))


@linux
async def test_a_job_over_its_memory_is_told_so_and_costs_nothing_else(make: Make) -> None:
    pool = make(limits=Limits(memory_bytes=64 * 2**20, cpu_seconds=60))
    with pytest.raises(InvalidImage, match="memory"):
        await decode(pool, [slow_png()])
    assert await decode(pool, [photo()])


@linux
async def test_a_request_that_does_not_fit_into_the_memory_of_a_worker_is_told_so_too(make: Make) -> None:
    pool = make(limits=Limits(memory_bytes=64 * 2**20, cpu_seconds=60))
    with pytest.raises(ImageTooLarge, match="memory"):
        await decode(pool, [bytes(2**20)] * 100)
    assert await decode(pool, [photo()])


@linux
async def test_a_job_over_its_cpu_time_is_ended_by_the_system(make: Make) -> None:
    pool = make(limits=Limits(memory_bytes=2**30, cpu_seconds=0))
    with pytest.raises(InvalidImage, match="CPU time"):
        await decode(pool, [slow_png()])


async def test_a_worker_that_is_killed_in_its_job_is_replaced(make: Make, fork_server: ForkServer) -> None:
    pool = make()
    task = asyncio.create_task(decode(pool, [slow_png()]))
    os.kill(await working(fork_server), signal.SIGSEGV)
    with pytest.raises(InvalidImage):
        await task
    assert await decode(pool, [photo()])


async def test_an_idle_worker_that_was_killed_is_noticed(make: Make, fork_server: ForkServer) -> None:
    pool = make()
    await decode(pool, [photo()])
    assert fork_server.pid is not None
    [worker] = children_of(fork_server.pid)
    os.kill(worker, signal.SIGKILL)
    await until_async(lambda: has_ended(worker))
    for _ in range(10):  # the event loop takes notice
        await asyncio.sleep(0)
    assert await decode(pool, [photo()])


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
    slow = asyncio.create_task(
        pool.run(
            "image_pixels",
            ARGUMENTS,
            [[slow_png()]],
            ("slow", 0),
            Deadline.after(DEADLINE_SECONDS),
            lambda: starts.append("slow"),
        )
    )
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
    starts, displaced = Counter[str](), Counter[str]()
    lead = pool._cpu_lead
    monkeypatch.setattr(pool, "_cpu_lead", lambda running: displaced.update([running.caller]) or lead(running))
    slow = asyncio.create_task(
        pool.run(
            "image_pixels",
            ARGUMENTS,
            [[slow_png()]],
            ("slow", 0),
            Deadline.after(DEADLINE_SECONDS),
            lambda: starts.update(["slow"]),
        )
    )
    worker = psutil.Process(await working(fork_server))
    quick = asyncio.create_task(decode(pool, [photo()], "quick"))
    # The event loop stands still until the worker has replied: then its reply and its time slice are due together, once
    # the other waits.
    until(lambda: worker.status() == psutil.STATUS_ZOMBIE)  # it has grown, so it ends after its reply
    assert await slow
    assert await quick
    assert displaced["slow"]
    assert starts["slow"] == 1


async def test_a_worker_that_has_grown_gives_its_memory_back(make: Make, fork_server: ForkServer) -> None:
    pool = make()
    await decode(pool, [photo()])
    assert fork_server.pid is not None
    before = children_of(fork_server.pid)
    await decode(pool, [slow_png(6000)])
    server = fork_server.pid
    await until_async(lambda: not before & children_of(server))


async def test_a_fork_server_that_was_killed_is_started_again() -> None:
    server = ForkServer()
    pool = WorkerPool(server, Capacity(1, 0, 1, kept=1), ORDINARY, LARGE_IMAGES)
    try:
        await decode(pool, [photo()])
        assert server.pid is not None
        [worker] = children_of(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        if sys.platform.startswith("linux"):
            await until_async(lambda: has_ended(worker))
        for _ in range(2):  # whoever finds that the worker, or the fork server, is gone is told to try again
            with suppress(Overloaded):
                await decode(pool, [photo()])
        assert await decode(pool, [photo()])
    finally:
        await pool.close()
        server.close()


def test_no_process_is_left_behind() -> None:
    server = ForkServer()
    pid, connection = server.fork(ORDINARY)
    connection.close()
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_gateway_that_is_killed_takes_its_workers_along() -> None:
    code = (
        "import time\n"
        "from gateway.workers.fork_server import ForkServer\n"
        "from gateway.workers.limits import Limits\n"
        "server = ForkServer()\n"
        f"pid, connection = server.fork({ORDINARY!r})\n"
        "print(pid, server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    for pid in pids:
        until(partial(has_ended, pid), f"process {pid} has ended")


def framed(header: bytes) -> bytes:
    return len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize(
    "reply",
    [
        b"\xff\xff\xff\xff",
        framed(b"{}"),
        framed(b"[]"),
        framed(b"{"),
        framed(b'{"header":{},"sizes":[1e15]}'),
        framed(b'{"header":{},"sizes":[1000000000000]}'),
    ],
    ids=str,
)
async def test_a_worker_that_answers_nonsense_is_replaced(make: Make, reply: bytes) -> None:
    pool = make()
    await decode(pool, [photo()])
    [worker] = pool._workers._idle
    worker.reader.feed_data(reply)  # what a worker that was taken over might send
    with pytest.raises(InvalidImage):
        await decode(pool, [photo()])
    assert await decode(pool, [photo()])
