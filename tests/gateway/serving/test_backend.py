"""Several calls to a model server for one request."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.errors import ModelServerFailed
from gateway.serving.backend import ServableNotFound, together


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def answered(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def failed(error: Exception) -> int:
    await asyncio.sleep(0)
    raise error


async def test_answers_come_in_the_order_of_the_calls() -> None:
    assert await together([answered(1)]) == [1]
    assert await together([answered(number) for number in range(5)]) == list(range(5))
    assert await together([]) == []


async def test_all_calls_have_ended_when_one_has_failed() -> None:
    ended: list[int] = []

    async def slow(number: int) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append(number)
        return number

    with pytest.raises(ModelServerFailed, match="first"):
        await together([slow(1), failed(ModelServerFailed("first")), slow(2), failed(ModelServerFailed("second"))])
    assert ended == [1, 2]


async def test_a_version_that_is_gone_counts_before_other_failures() -> None:
    with pytest.raises(ServableNotFound):
        await together([failed(ModelServerFailed("busy")), failed(ServableNotFound("gone")), answered(1)])


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_calls_that_failed_is_left() -> None:
    class Sent:
        """Stands for what is sent: bytes take no weak references."""

    async def call(sent: Sent) -> int:
        await asyncio.sleep(0)
        raise ModelServerFailed(f"{type(sent)}")

    async def failed_call() -> weakref.ref[Sent]:
        sent = [Sent(), Sent()]
        reference = weakref.ref(sent[1])
        try:
            await together([call(one) for one in sent])
        except ModelServerFailed:
            return reference
        raise AssertionError

    reference = await failed_call()
    assert reference() is None
