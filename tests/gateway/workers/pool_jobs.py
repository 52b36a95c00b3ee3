"""Jobs for a pool, and what its workers are doing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
