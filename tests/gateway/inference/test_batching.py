"""Images of several callers go to the model server together, and nobody is the worse for it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, ModelServerUnavailable
from gateway.pb.serving_pb2 import DataType
from gateway.serving.backend import ServableNotFound
from gateway.serving.fixed_inputs import FixedInput
from tests.gateway.inference.batching_callers import CONTRACT, callers, settled


async def test_an_image_is_sent_at_once_while_the_server_has_room() -> None:
    some = callers()
    await some.ask(1, 2)
    assert some.server.sent == [[1], [2]]
    assert await some.answered() == [1, 2]


async def test_images_that_wait_are_sent_together_when_a_request_returns() -> None:
    some = callers()
    await some.ask(1, 2, 3, 4, 5, 6, 7, 8)
    assert some.server.sent == [[1], [2]]
    some.server.answer(0)
    await settled()
    assert some.server.sent[2:] == [[3, 4, 5, 6]]
    assert await some.answered() == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_several_servers_have_as_many_requests_each() -> None:
    some = callers(servers=3)
    await some.ask(*range(8))
    assert some.server.sent == [[value] for value in range(6)]


async def test_where_images_are_not_joined_the_server_has_as_many_as_it_takes() -> None:
    some = callers(max_batch_size=1, max_images=8)
    await some.ask(*range(10))
    assert some.server.sent == [[value] for value in range(8)]
    some.server.answer(3)
    await settled()
    assert some.server.sent[8:] == [[8]]


async def test_the_bytes_of_a_request_include_its_fixed_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inference.batching.MAX_MESSAGE_BYTES", 4000)
    flags = FixedInput("flags", DataType.DT_FLOAT, (-1, 500), bytes(2000))
    some = callers(max_images=4)
    some.contract = replace(CONTRACT, fixed_inputs=(flags,))
    await some.ask(1, 2, 3, 4, 5)
    assert await some.answered() == [1, 2, 3, 4, 5]
    assert some.server.sent == [[1], [2], [3, 4], [5]]


async def test_callers_take_turns() -> None:
    some = callers(max_batch_size=2, max_images=4)
    await some.ask(1, 2, caller="first")
    await some.ask(3, 4, 5, caller="greedy")
    await some.ask(6, caller="modest")
    some.server.answer(0)
    await settled()
    assert some.server.sent[2:] == [[3, 6]]


async def test_a_photo_waits_for_nobodys_batch() -> None:
    some = callers()
    await some.ask(*range(10, 40), request="batch", bulk=True)
    assert some.server.sent == [[10, 11, 12, 13]]
    await some.ask(1)
    assert some.server.sent[1:] == [[1]]
    some.server.answer(0)
    await settled()
    assert some.server.sent[2:] == [[14, 15, 16, 17]]
    assert sorted(await some.answered()) == [1, *range(10, 40)]


async def test_photos_that_wait_do_not_keep_a_batch_waiting_for_ever() -> None:
    some = callers()
    await some.ask(1, 2, 3, 4)
    await some.ask(10, 11, request="batch", bulk=True)
    some.server.answer(0)
    await settled()
    assert [10, 11] in some.server.sent


async def test_every_caller_keeps_its_own_deadline() -> None:
    some = callers()
    await some.ask(1, 2)
    [late] = await some.ask(3, seconds=0.02)
    [patient] = await some.ask(4)
    with pytest.raises(DeadlineExceeded):
        await late
    some.server.answer(0)
    await settled()
    assert some.server.sent[2:] == [[4]]
    some.server.answer(2)
    assert await patient == 4


async def test_a_caller_that_goes_takes_its_image_along_and_no_other() -> None:
    some = callers()
    await some.ask(1, 2)
    gone, stays = await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    gone.cancel()
    await settled()
    assert some.server.cancelled == []
    some.server.answer(2)
    assert await stays == 4


async def test_a_request_is_cancelled_when_all_its_callers_are_gone() -> None:
    some = callers()
    await some.ask(1, 2)
    both = await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    for one in both:
        one.cancel()
    await settled()
    assert some.server.cancelled == [2]


async def test_a_batch_that_fails_is_sent_again_one_by_one_and_so_is_what_follows() -> None:
    some = callers()
    await some.ask(1, 2)
    bad, good = await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    some.server.fail(2, ModelServerFailed("no"))
    await settled()
    some.server.fail(3, ModelServerFailed("this one"))
    await settled()
    some.server.answer(4)
    with pytest.raises(ModelServerFailed, match="this one"):
        await bad
    assert await good == 4
    assert some.server.sent[2:] == [[3, 4], [3], [4]]
    await some.ask(5, 6, 7)
    some.server.answer(1)
    await settled()
    assert all(len(sent) == 1 for sent in some.server.sent[5:])


async def test_a_version_that_is_gone_is_told_to_all_at_once() -> None:
    some = callers()
    await some.ask(1, 2)
    both = await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    some.server.fail(2, ServableNotFound("gone"))
    for one in both:
        with pytest.raises(ServableNotFound):
            await one
    assert len(some.server.sent) == 3


async def test_a_request_that_is_cancelled_by_the_channel_is_unavailable_to_its_callers() -> None:
    some = callers()
    await some.ask(1, 2)
    both = await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    some.server._answers[2].cancel()
    for one in both:
        with pytest.raises(ModelServerUnavailable):
            await one


async def test_the_model_server_is_told_the_ids_of_all() -> None:
    some = callers()
    await some.ask(1, 2)
    await some.ask(3, 4)
    some.server.answer(0)
    await settled()
    assert some.server.request_ids == ["id1", "id2", "id3,id4"]


async def test_nothing_of_an_image_is_left_when_it_is_answered() -> None:
    some = callers()
    await some.ask(1, 2)
    content = np.array([3], np.uint8)  # bytes take no weak reference
    kept = weakref.ref(content)
    task = asyncio.create_task(some.batcher.row(CONTRACT, content, ("a", 3), Deadline.after(30)))  # type: ignore[arg-type]
    del content
    await settled()
    gc.collect()
    gc.disable()
    try:
        some.server.answer(0)
        await settled()
        some.server.answer(2)
        assert (await task).values.tolist() == [3]
        del task
        assert kept() is None
    finally:
        gc.enable()
