from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway import memory
from gateway.admission import Admission

PIECE = b"x" * 40_000
MANY = 3_000

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc is told to give memory back"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched(Admission):
    """Counts how often it was looked whether it is idle."""

    looks = 0

    @property
    def is_idle(self) -> bool:
        self.looks += 1
        return super().is_idle


@pytest.fixture
def admission(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Bounds under which uploads were received and answered, looked at every millisecond."""
    monkeypatch.setattr(memory, "IDLE_SECONDS", 0.001)
    admission = Watched(max_images=10, max_uploads=10, max_upload_bytes=2**30)
    admission.hold(memory.WORTHWHILE_BYTES + 1)
    admission.release(memory.WORTHWHILE_BYTES + 1)
    return admission


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def freed_below_something_that_stays() -> bytes:
    """Many pieces are freed, and the newest, which lies above them in the heap, is not."""
    pieces = [PIECE + bytes([number % 256]) for number in range(MANY)]
    return pieces[-1]


@asynccontextmanager
async def giving_back(admission: Admission) -> AsyncIterator[None]:
    """Looks for idle moments meanwhile."""
    task = asyncio.create_task(memory.give_back_when_idle(admission))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_memory_is_given_back_after_a_load(admission: Admission) -> None:
    stays = freed_below_something_that_stays()
    before = resident()
    async with giving_back(admission):
        deadline = time.monotonic() + 10
        while resident() > before - MANY * len(PIECE) / 2:
            assert time.monotonic() < deadline, f"{before - resident():,} bytes were given back"
            await asyncio.sleep(0.01)
    assert stays


async def test_nothing_is_given_back_while_anything_is_in_work(admission: Watched) -> None:
    stays = freed_below_something_that_stays()
    before = resident()
    with admission.admit(1):
        async with giving_back(admission):
            deadline = time.monotonic() + 10
            while admission.looks < 20:
                assert time.monotonic() < deadline
                await asyncio.sleep(memory.IDLE_SECONDS)
        assert resident() > before - MANY * len(PIECE) / 4
    assert stays
