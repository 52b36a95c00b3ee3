"""Calls to model servers behind one target that do not have the same versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.deadline import Deadline
from gateway.errors import ModelServerFailed
from gateway.serving.backend import Selector, ServableNotFound
from gateway.serving.channel import ModelServerChannel
from gateway.serving.grpc_backend import GrpcBackend
from testing.colour_server import ColourModel, ColourServer, Model
from testing.polling import DEADLINE_SECONDS, until_async


@pytest.fixture
def servers() -> Iterator[list[ColourServer]]:
    """Three model servers. The first two have a version each, and the third one has nothing."""
    versions: list[dict[int, Model]] = [{1: ColourModel()}, {2: ColourModel()}, {}]
    servers = [ColourServer(models={"colours": models}) for models in versions]
    with servers[0].serving(), servers[1].serving(), servers[2].serving():
        yield servers


@asynccontextmanager
async def connected(*servers: ColourServer) -> AsyncIterator[GrpcBackend]:
    """A client that is connected to all of them; one may be connected to before the others."""
    backend = GrpcBackend(ModelServerChannel(",".join(server.address for server in servers)))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not all(server.calls for server in servers):
                await found(backend, 1)
        yield backend
    finally:
        await backend.close()


async def found(backend: GrpcBackend, version: int) -> bool:
    try:
        read, _ = await backend.signatures("colours", Selector(version=version), Deadline.after(DEADLINE_SECONDS))
    except ServableNotFound:
        return False
    assert read == version
    return True


@pytest.mark.parametrize("callers", [1, 2, 3, 8])
async def test_callers_in_step_each_reach_the_server_with_their_version(
    servers: list[ColourServer], callers: int
) -> None:
    async with connected(*servers[:2]) as backend:
        for _ in range(50):
            assert all(await asyncio.gather(*(found(backend, 1 + index % 2) for index in range(callers))))


async def test_all_servers_are_called_before_a_version_is_not_found(servers: list[ColourServer]) -> None:
    async with connected(*servers) as backend:
        for server in servers:
            server.calls = 0
        assert not await found(backend, 3)
        assert all(server.calls for server in servers)


async def test_a_server_that_hangs_does_not_hold_up_a_version_that_another_one_lacks(
    servers: list[ColourServer],
) -> None:
    hanging = servers[0]
    async with connected(*servers) as backend:
        hanging.stalled.set()
        lookups = [asyncio.create_task(found(backend, 2)) for _ in range(9)]
        # A third of the first calls meet the server that hangs.
        await until_async(lambda: sum(lookup.done() for lookup in lookups) >= 6 and hanging.waiting > 0)
        hanging.stalled.clear()
        assert all(await asyncio.gather(*lookups))


async def test_an_error_of_one_server_is_not_taken_for_a_missing_version(servers: list[ColourServer]) -> None:
    async with connected(*servers) as backend:
        servers[1].refusal = (grpc.StatusCode.INTERNAL, "no")
        with pytest.raises(ModelServerFailed):
            await found(backend, 2)
