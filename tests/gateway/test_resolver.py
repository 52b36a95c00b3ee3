from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.backend import GrpcBackend, Selector, ServableNotFound
from gateway.channel import Connection
from gateway.deadline import Deadline
from gateway.errors import NotReady
from gateway.resolver import SWITCH_ATTEMPTS, ContractResolver, Served
from tests.colour_server import ColourServer

NEWEST = Selector()


@asynccontextmanager
async def resolving(server: ColourServer, refresh_seconds: float) -> AsyncIterator[ContractResolver]:
    backend = GrpcBackend(Connection(server.address))
    resolver = ContractResolver(backend, {}, refresh_seconds)
    try:
        yield resolver
    finally:
        await resolver.close()
        await backend.close()


def test_a_stalled_look_up_takes_half_of_a_requests_time_however_often_it_asks(model_server: ColourServer) -> None:
    async def left() -> float:
        async with resolving(model_server, refresh_seconds=0.02) as resolver:
            known = await resolver.served("colours", NEWEST, Deadline.after(10))
            await asyncio.sleep(0.15)  # too old to be used unasked
            model_server.stalled.set()
            deadline = Deadline.after(2)
            for _ in range(3):
                assert await resolver.served("colours", NEWEST, deadline) is known
            return deadline.remaining()

    assert 0.5 < asyncio.run(left()) <= 1


def test_a_version_that_is_always_gone_is_looked_up_once_for_each_time_it_is_asked(model_server: ColourServer) -> None:
    asked = 0

    async def ask(_: Served) -> None:
        nonlocal asked
        asked += 1
        raise ServableNotFound

    async def answered() -> None:
        async with resolving(model_server, refresh_seconds=60) as resolver:
            with pytest.raises(NotReady):
                await resolver.answered("colours", NEWEST, Deadline.after(20), ask)

    asyncio.run(answered())
    assert asked == SWITCH_ATTEMPTS
    assert model_server.calls == 2 * asked  # a look-up is two calls
