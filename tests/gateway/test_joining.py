"""Photos of several callers go to the model server together, and nobody is the worse for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from gateway.backend import request_id
from gateway.contract import Contract
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, ModelServerUnavailable
from gateway.images import Target
from gateway.joining import WAIT_SECONDS, Joiner, Pixels, Scores, longest_wait
from gateway.pb.serving_pb2 import DataType
from tests.colour_server import COLOURS as COLOUR_NAMES
from tests.colour_server import ColourServer, ForeignModel, colour_scores
from tests.gateway.conftest import photo

Start = Callable[..., httpx.Client]

CONTRACT = Contract(
    model="m",
    version=1,
    signature="pixels",
    input_name="images",
    input_kind="pixels",
    input_dtype=DataType.DT_UINT8,
    target=Target(1, 1, "crop", "bilinear"),
    pixel_range=(0.0, 255.0),
    output_name="probabilities",
    sigmoid=False,
    labels=("a",),
    unknown_threshold=None,
    explains=False,
    card=None,
)


class Requests:
    """A model server that answers when it is told to: the score of a photo is the value of its one pixel."""

    def __init__(self) -> None:
        self.sent: list[tuple[list[int], Deadline, str]] = []
        self.answers: list[asyncio.Future[None]] = []
        self.busy: asyncio.Future[None] | None = None

    async def send(self, contract: Contract, photos: Sequence[Pixels], deadline: Deadline) -> Scores:
        assert contract is CONTRACT
        values = [int(one[0, 0, 0]) for one in photos]
        self.sent.append((values, deadline, request_id.get()))
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]
        return np.array(values, np.float32)[:, None]

    @property
    def values(self) -> list[list[int]]:
        return [values for values, *_ in self.sent]

    def answer(self, number: int) -> None:
        self.answers[number].set_result(None)

    async def until(self, count: int) -> None:
        await until(lambda: len(self.sent) >= count)
        assert len(self.sent) == count


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


class Callers:
    """Callers of one joiner, each with one photo; the value of its pixel is its name."""

    def __init__(self, server: Requests, max_photos: int = 4, wait: float = 60.0) -> None:
        self.joiner = Joiner(server.send, max_photos, lambda _: wait)
        self.decoded: dict[int, asyncio.Event] = {}

    def call(self, value: int, seconds: float = 10.0, *, readable: bool = True) -> asyncio.Task[float]:
        self.decoded[value] = asyncio.Event()
        return asyncio.create_task(self._call(value, Deadline.after(seconds), readable))

    async def _call(self, value: int, deadline: Deadline, readable: bool) -> float:
        request_id.set(f"id{value}")
        with self.joiner.expect(CONTRACT) as expected:
            await self.decoded[value].wait()
            if not readable:
                return -1.0
            return float((await expected.scores(np.full((1, 1, 3), value, np.uint8), deadline))[0])

    async def decode(self, *values: int) -> None:
        """Ends their decoding, one after the other."""
        await asyncio.sleep(0)  # all who were just called are in
        for value in values:
            self.decoded[value].set()
            await asyncio.sleep(0)


async def busy(server: Requests, callers: Callers) -> None:
    """Gives the server something to do, which stays out of its lists."""
    callers.call(100)
    await callers.decode(100)
    await server.until(1)
    server.sent.clear()
    server.busy = server.answers.pop()


def run(test: Callable[[Requests], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await test(Requests())

    asyncio.run(timed())


def test_photos_wait_for_those_that_are_being_decoded_and_go_together() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        others = [callers.call(value) for value in (1, 2, 3)]
        await callers.decode(1, 2)
        assert server.values == []
        await callers.decode(3)
        await server.until(1)
        assert server.values == [[1, 2, 3]]
        server.answer(0)
        assert list(await asyncio.gather(*others)) == [1, 2, 3]

    run(test)


def test_nobody_waits_while_the_server_has_nothing_to_do() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        waits, decoding = callers.call(1), callers.call(2)
        await callers.decode(1)
        assert server.values == []
        assert server.busy is not None
        server.busy.set_result(None)
        await server.until(1)
        server.answer(0)
        assert await waits == 1
        await callers.decode(2)
        await server.until(2)
        assert server.values == [[1], [2]]
        server.answer(1)
        assert await decoding == 2

    run(test)


def test_a_photo_that_takes_long_to_decode_holds_nobody_up_for_long() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server, wait=0.01)
        await busy(server, callers)
        slow, ready = callers.call(1), callers.call(2)
        await callers.decode(2)
        await server.until(1)
        server.answer(0)
        assert await ready == 2
        assert not slow.done()
        slow.cancel()

    run(test)


def test_the_wait_is_a_part_of_what_the_server_takes_and_never_long() -> None:
    assert longest_wait(0.004) == 0.002
    assert longest_wait(30) == WAIT_SECONDS == 0.02


def test_a_full_request_waits_for_nobody() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server, max_photos=2)
        await busy(server, callers)
        others = [callers.call(value) for value in (1, 2, 3)]
        await callers.decode(1, 2)
        await server.until(1)
        assert server.values == [[1, 2]]
        await callers.decode(3)
        await server.until(2)
        server.answer(0)
        server.answer(1)
        assert list(await asyncio.gather(*others)) == [1, 2, 3]

    run(test)


def test_each_has_a_request_of_its_own_where_only_one_may_be_in_it() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server, max_photos=1)
        await busy(server, callers)
        for value in (1, 2):
            callers.call(value)
        await callers.decode(1, 2)
        await server.until(2)
        assert server.values == [[1], [2]]

    run(test)


def test_a_photo_that_cannot_be_decoded_lets_the_others_go() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        good, bad = callers.call(1), callers.call(2, readable=False)
        await callers.decode(1, 2)
        assert await bad == -1
        await server.until(1)
        server.answer(0)
        assert await good == 1

    run(test)


def test_every_caller_keeps_its_own_deadline() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        hasty, patient = callers.call(1, seconds=0.1), callers.call(2, seconds=10)
        await callers.decode(1, 2)
        await server.until(1)
        with pytest.raises(DeadlineExceeded):
            await hasty
        deadline = server.sent[0][1]
        assert deadline.remaining() > 5
        server.answer(0)
        assert await patient == 2

    run(test)


def test_a_caller_that_goes_takes_along_its_photo_and_no_other() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        waits, under_way, stays, decoding = (callers.call(value) for value in (1, 2, 3, 4))
        await callers.decode(1)
        waits.cancel()
        await callers.decode(2, 3, 4)
        await server.until(1)
        assert server.values[0] == [2, 3, 4]
        under_way.cancel()
        server.answer(0)
        assert list(await asyncio.gather(stays, decoding)) == [3, 4]
        assert waits.cancelled()
        assert under_way.cancelled()

    run(test)


def test_a_request_is_cancelled_when_all_its_callers_are_gone() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        others = [callers.call(value) for value in (1, 2)]
        await callers.decode(1, 2)
        await server.until(1)
        others[0].cancel()
        await asyncio.wait([others[0]])
        assert not server.answers[0].cancelled()
        others[1].cancel()
        await until(server.answers[0].cancelled)

    run(test)


def test_what_fails_together_is_asked_for_alone() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        good, bad = callers.call(1), callers.call(2)
        await callers.decode(1, 2)
        await server.until(1)
        server.answers[0].set_exception(ModelServerFailed("one of them"))
        await server.until(3)
        assert server.values[1:] == [[1], [2]]
        server.answer(1)
        server.answers[2].set_exception(ModelServerFailed("this one"))
        assert await good == 1
        with pytest.raises(ModelServerFailed, match="this one"):
            await bad

    run(test)


def test_a_server_that_is_away_is_not_asked_again_for_each() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        others = [callers.call(value) for value in (1, 2)]
        await callers.decode(1, 2)
        await server.until(1)
        server.answers[0].set_exception(ModelServerUnavailable("away"))
        for one in others:
            with pytest.raises(ModelServerUnavailable, match="away"):
                await one
        assert len(server.sent) == 1

    run(test)


def test_the_model_server_is_told_the_ids_of_all() -> None:
    async def test(server: Requests) -> None:
        callers = Callers(server)
        await busy(server, callers)
        for value in (1, 2):
            callers.call(value)
        await callers.decode(1, 2)
        await server.until(1)
        assert [said for *_, said in server.sent] == ["id1,id2"]

    run(test)


COLOURS = ("red", "green", "blue", "red", "blue", "green", "green", "red")


def slow_scores(images: npt.NDArray[np.generic]) -> Scores:
    """Of a server that takes its time: one that answers at once is waited for by nobody."""
    time.sleep(0.03)
    return colour_scores(images)


def serve(server: ColourServer, answer: Callable[[npt.NDArray[np.generic]], Scores]) -> None:
    """A model of three colours."""
    inputs, outputs = {"x": (DataType.DT_UINT8, (-1, 8, 8, 3))}, {"y": (DataType.DT_FLOAT, (-1, 3))}
    server.models["colours"] = {1: ForeignModel(inputs, outputs, answer)}


def ask(gateway: httpx.Client) -> list[httpx.Response]:
    """Photos of all colours at once, large enough that they are decoded side by side."""

    def post(colour: str) -> httpx.Response:
        return gateway.post("/api/v1/predict_breed", files={"dog_image": photo(colour, (700, 700))})

    with ThreadPoolExecutor(len(COLOURS)) as pool:
        return list(pool.map(post, COLOURS))


def until_joined(server: ColourServer, gateway: httpx.Client) -> list[list[httpx.Response]]:
    """Answers to the same photos again and again, until some of them went together."""
    rounds: list[list[httpx.Response]] = []
    end = time.monotonic() + 30
    while not any(size > 1 for size in server.batch_sizes):
        assert time.monotonic() < end, "no photos ever went together"
        rounds.append(ask(gateway))
    return rounds


def test_callers_whose_photos_went_together_get_each_their_own_answer(start: Start, model_server: ColourServer) -> None:
    serve(model_server, slow_scores)
    for answers in until_joined(model_server, start()):
        assert [COLOUR_NAMES[int(one.json()["breed"])] for one in answers] == list(COLOURS)
    assert max(model_server.batch_sizes) <= 4


def test_a_photo_with_which_the_model_fails_costs_no_other_its_answer(start: Start, model_server: ColourServer) -> None:
    def no_red(images: npt.NDArray[np.generic]) -> Scores:
        scores = slow_scores(images)
        scores[scores.argmax(axis=1) == 0] = np.nan
        return scores

    serve(model_server, no_red)
    for answers in until_joined(model_server, start()):
        assert [one.status_code for one in answers] == [502 if colour == "red" else 200 for colour in COLOURS]


def test_with_a_limit_of_one_no_photos_go_together(start: Start, model_server: ColourServer) -> None:
    serve(model_server, slow_scores)
    gateway = start(max_joined_photos=1)
    for _ in range(3):
        assert {one.status_code for one in ask(gateway)} == {200}
    assert set(model_server.batch_sizes) == {1}
