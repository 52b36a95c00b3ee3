from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, NotReady
from gateway.pb.serving_pb2 import ModelVersionStatus, SignatureDef
from gateway.serving.backend import Selector, ServableNotFound
from gateway.serving.channel import ModelServerChannel
from gateway.serving.grpc_backend import GrpcBackend
from gateway.serving.resolver import RELOAD_SECONDS, SWITCH_ATTEMPTS, ContractResolver
from gateway.serving.single_flight import MAX_CALLS
from gateway.serving.version_lookup import ServedVersion
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until, until_async

NEWEST = Selector()


@asynccontextmanager
async def resolving(server: ColourServer, refresh_seconds: float) -> AsyncIterator[ContractResolver]:
    backend = GrpcBackend(ModelServerChannel(server.address))
    resolver = ContractResolver(backend, {}, refresh_seconds)
    try:
        yield resolver
    finally:
        await resolver.close()
        await backend.close()


def test_a_stalled_look_up_takes_half_of_a_requests_time_however_often_it_asks(model_server: ColourServer) -> None:
    async def left() -> float:
        """What is left of four seconds; 0 if the machine stood still for the rest."""
        async with resolving(model_server, refresh_seconds=0.02) as resolver:
            served = await resolver.served("colours", NEWEST, Deadline.after(DEADLINE_SECONDS))
            read = time.monotonic()
            await until_async(lambda: time.monotonic() - read > 0.15)  # too old to be used unasked
            model_server.stalled.set()
            deadline = Deadline.after(4)
            try:
                for _ in range(3):
                    assert await resolver.served("colours", NEWEST, deadline) is served
                remaining = deadline.remaining()
                assert remaining <= 2
                return remaining
            except DeadlineExceeded:
                return 0.0
            finally:
                model_server.stalled.clear()

    # Half of the time, less whatever the machine stands still.
    assert any(asyncio.run(left()) > 0.5 for _ in range(5))


async def test_a_look_up_passes_by_one_of_two_servers_that_hangs(
    model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.version_lookup.PATIENCE", (0.01,) * 50)
    hanging = ColourServer(models=model_server.models)
    with hanging.serving():
        backend = GrpcBackend(ModelServerChannel(f"{model_server.address},{hanging.address}"))
        resolver = ContractResolver(backend, {}, refresh_seconds=0)
        while not (model_server.calls and hanging.calls):
            await resolver.lookup.read("colours", NEWEST, Deadline.after(DEADLINE_SECONDS))
        hanging.stalled.set()
        # Two calls, of which each goes to the next server: one of them hangs, whichever comes first.
        for _ in range(2):
            await resolver.lookup.read("colours", NEWEST, Deadline.after(DEADLINE_SECONDS))
        await resolver.close()
        await backend.close()


class Held(GrpcBackend):
    """A backend whose calls for made-up names last until they are cancelled."""

    def __init__(self, connection: ModelServerChannel) -> None:
        super().__init__(connection)
        self.held = 0

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        await self._hold(model)
        return await super().signatures(model, selector, deadline)

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        await self._hold(model)
        return await super().status(model, deadline)

    async def _hold(self, model: str) -> None:
        if model != "colours":
            self.held += 1
            await asyncio.Event().wait()


async def test_made_up_names_are_looked_up_a_few_at_a_time_and_known_models_do_not_wait_for_them(
    model_server: ColourServer,
) -> None:
    backend = Held(ModelServerChannel(model_server.address))
    resolver = ContractResolver(backend, {}, refresh_seconds=0)
    limit = Deadline.after(DEADLINE_SECONDS)
    await resolver.served("colours", NEWEST, limit)
    names = [f"name {number}" for number in range(3 * MAX_CALLS)]
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(resolver.described(name, NEWEST, limit)) for name in names]
    tasks += [asyncio.create_task(resolver.served(f"other {name}", NEWEST, limit)) for name in names]
    tasks += [asyncio.create_task(resolver.versions(name, limit)) for name in names]
    for _ in range(20):
        await asyncio.sleep(0)
    assert backend.held == 2 * MAX_CALLS  # for versions, and for states
    assert (await resolver.described("colours", NEWEST, limit)).version == 1
    assert [one.version for one in await resolver.versions("colours", limit)] == [1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await resolver.close()
    await backend.close()


def test_a_version_that_is_always_gone_is_looked_up_once_for_each_time_it_is_asked(model_server: ColourServer) -> None:
    calls = 0

    async def ask(_: ServedVersion) -> None:
        nonlocal calls
        calls += 1
        raise ServableNotFound

    async def answered() -> None:
        async with resolving(model_server, refresh_seconds=60) as resolver:
            with pytest.raises(NotReady):
                await resolver.answer("colours", NEWEST, Deadline.after(DEADLINE_SECONDS), ask)

    asyncio.run(answered())
    assert calls == SWITCH_ATTEMPTS
    assert model_server.calls == 2 * calls  # a look-up is two calls


def test_no_answer_has_the_labels_of_the_model_that_had_its_number_before(model_server: ColourServer) -> None:
    orders = list(itertools.permutations(("red", "green", "blue")))

    async def ask(served: ServedVersion) -> tuple[tuple[str, ...], int]:
        """The labels that the gateway would use, and the place of the best score for a red image."""
        contract = served.checked_contract()
        [model] = model_server.models["colours"].values()
        assert isinstance(model, ColourModel)
        return contract.labels, model.labels.index("red")

    async def answers() -> None:
        async with resolving(model_server, refresh_seconds=1) as resolver:
            for turn in range(60):
                model_server.models["colours"] = {1: ColourModel(orders[turn % len(orders)])}
                limit = Deadline.after(DEADLINE_SECONDS)
                calls = (resolver.answer("colours", NEWEST, limit, ask) for _ in range(4))
                for labels, best in await asyncio.gather(*calls):
                    assert labels[best] == "red"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gateway.serving.resolver.RELOAD_SECONDS", 0.0
        )  # the model server of this test needs no time for it
        asyncio.run(answers())


def test_an_idle_gateway_does_not_answer_with_what_it_read_before_the_number_was_used_again(
    start: Callable[..., httpx.Client], model_server: ColourServer
) -> None:
    gateway = start(model_refresh_seconds=60)
    assert gateway.post("/api/v1/predict_breed", content=photo()).json()["breed"] == "red"
    model_server.models["colours"] = {1: ColourModel(("blue", "red", "green"))}
    read = time.monotonic()
    until(lambda: time.monotonic() - read > RELOAD_SECONDS)
    assert gateway.post("/api/v1/predict_breed", content=photo()).json()["breed"] == "red"
    model_server.models["colours"] = {1: ColourModel(("blue", "green"))}
    read = time.monotonic()
    until(lambda: time.monotonic() - read > RELOAD_SECONDS)
    assert gateway.post("/api/v1/predict_breed", content=photo("blue")).json()["breed"] == "blue"


def test_an_answer_is_given_although_nothing_can_be_looked_up_for_a_moment(model_server: ColourServer) -> None:
    async def ask(_: ServedVersion) -> str:
        model_server.stalled.set()
        return "answer"

    async def answered() -> str:
        async with resolving(model_server, refresh_seconds=600) as resolver:
            await resolver.served("colours", NEWEST, Deadline.after(DEADLINE_SECONDS))
            return await resolver.answer("colours", NEWEST, Deadline.after(1), ask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.serving.resolver.RELOAD_SECONDS", 0.0)
        assert asyncio.run(answered()) == "answer"
