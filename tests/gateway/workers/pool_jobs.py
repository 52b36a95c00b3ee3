"""Jobs for a pool, and what its workers are doing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from gateway.deadline import Deadline
from gateway.workers.fork_server import ForkServer
from gateway.workers.messages import Message
from gateway.workers.pool import WorkerPool
from testing.polling import DEADLINE_SECONDS, until_async

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux enforces these limits")

ARGUMENTS = {
    "target": {"height": 4, "width": 6, "fit": "squash"},
    "pixel_format": {},
    "max_pixels": 10**9,
}


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


Job = asyncio.Task[Message]


async def stopped(fork_server: ForkServer, pool: WorkerPool, begin: Callable[[], Job]) -> tuple[Job, int]:
    """A job that stands still in its middle, and the number of its worker.

    A job that was done before this process could stop it is begun again, in another worker.
    """
    for _ in range(20):
        job = begin()
        worker = await stop(fork_server, job)
        if worker is not None:
            return job, worker
        await job
        await end_idle(pool)
    pytest.fail("each job was done before it could be stopped")


async def end_idle(pool: WorkerPool) -> None:
    """End the idle workers. They would be taken for busy ones: they have used as much CPU time."""
    workers = pool._workers
    while workers._idle:
        workers.end(workers._idle.pop())
    await asyncio.gather(*workers._background)


async def stop(fork_server: ForkServer, job: Job) -> int | None:
    """Stop the one worker in the middle of a job. Returns its number; None if the job was done before."""
    await until_async(lambda: job.done() or _busy(fork_server), "a worker is at work, or the job is done")
    worker = _busy(fork_server)
    if job.done() or worker is None:
        return None
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        os.kill(worker, signal.SIGSTOP)
        still = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        await until_async(lambda: psutil.Process(worker).status() in still, "the worker stands still")
    # A reply that the worker has sent is in its socket by now. The event loop reads it before it looks at the clock.
    await asyncio.wait([job], timeout=0.1)
    return None if job.done() else worker


async def working(fork_server: ForkServer) -> int:
    """The number of the one worker, once it is at work on its job."""

    worker = await until_async(lambda: _busy(fork_server), "a worker is at work")
    assert worker is not None
    return worker


def _busy(fork_server: ForkServer) -> int | None:
    for child in psutil.Process(fork_server.pid).children() if fork_server.pid is not None else ():
        with suppress(psutil.NoSuchProcess):
            # A worker that has nothing but small images to do uses less.
            if child.cpu_times().user > 0.1 and child.status() != psutil.STATUS_ZOMBIE:
                return child.pid
    return None
