"""A fork server, and pools of its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.workers.failures import SMALL_IMAGES
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import Limits
from gateway.workers.pool import Capacity, WorkerPool

ORDINARY = Limits(memory_bytes=2**30, cpu_seconds=60)
ONE = Capacity(1, 0, 0.0, kept=1)

Make = Callable[..., WorkerPool]


@pytest.fixture(scope="session")
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
