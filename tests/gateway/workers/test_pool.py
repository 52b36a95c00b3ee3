"""Worker processes do their jobs, are killed when they must be, and are replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial

import pytest
from PIL import Image

from gateway.errors import DeadlineExceeded, ImageTooLarge, InvalidImage, Overloaded, UnsupportedImage
from gateway.workers.failures import LARGE_IMAGES
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import Limits
from gateway.workers.pool import Capacity, WorkerPool
from testing.photos import photo, slow_png
from testing.polling import DEADLINE_SECONDS, until, until_async
from testing.processes import has_ended
from tests.gateway.workers.conftest import ORDINARY, Make
from tests.gateway.workers.pool_jobs import children_of, decode, linux, working


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


async def test_callers_who_go_while_a_worker_is_started_leave_it_to_the_next(
    make: Make, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks: list[Limits] = []
    fork, may_fork = fork_server.fork, threading.Event()

    def counted(limits: Limits) -> tuple[int, socket.socket]:
        forks.append(limits)
        assert may_fork.wait(DEADLINE_SECONDS)
        return fork(limits)

    monkeypatch.setattr(fork_server, "fork", counted)
    pool = make()
    for _ in range(30):
        task = asyncio.create_task(decode(pool, [photo()]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    may_fork.set()
    assert await decode(pool, [photo()])
    assert len(forks) == 1


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
    until(partial(has_ended, pid))


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
