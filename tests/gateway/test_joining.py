"""Photos of several callers go to the model server together, and nobody is the worse for it."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from gateway.backend import MAX_REQUEST_BYTES, ServableNotFound, request_id
from gateway.contract import Contract
from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    ModelServerFailed,
    ModelServerUnavailable,
    UnsupportedModel,
)
from gateway.images import Target
from gateway.joining import WAIT_SECONDS, Joiner, Pixels, Scores, longest_wait
from gateway.pb.serving_pb2 import DataType
from tests.colour_server import COLOURS as COLOUR_NAMES
from tests.colour_server import ColourServer, ForeignModel, colour_scores
from tests.gateway import processes
from tests.gateway.conftest import photo

pytestmark = pytest.mark.anyio

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
        self.busy: list[asyncio.Future[None]] = []

    async def send(self, contract: Contract, photos: Sequence[Pixels], deadline: Deadline) -> Scores:
        del contract
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

    def __init__(
        self, server: Requests, max_photos: int = 4, wait: float = 60.0, servers: int = 1, side: int = 1
    ) -> None:
        self.joiner = Joiner(server.send, max_photos, lambda: servers, self._longest_wait)
        self.contract = CONTRACT
        self.wait = wait
        self.side = side
        self.last_answers: list[float] = []
        self.pixels: list[weakref.ref[Pixels]] = []
        self.decoded: dict[int, asyncio.Event] = {}

    def _longest_wait(self, answer_seconds: float) -> float:
        self.last_answers.append(answer_seconds)
        return self.wait

    def call(self, value: int, seconds: float = 10.0, *, readable: bool = True) -> asyncio.Task[float]:
        self.decoded[value] = asyncio.Event()
        return asyncio.create_task(self._call(value, Deadline.after(seconds), readable))

    async def _call(self, value: int, deadline: Deadline, readable: bool) -> float:
        request_id.set(f"id{value}")
        with self.joiner.expect(self.contract) as expected:
            await self.decoded[value].wait()
            if not readable:
                return -1.0
            pixels = np.full((self.side, self.side, 3), value, np.uint8)
            self.pixels.append(weakref.ref(pixels))
            return float((await expected.scores(pixels, deadline))[0])

    async def decode(self, *values: int) -> None:
        """Ends their decoding, one after the other."""
        await asyncio.sleep(0)  # all who were just called are in
        for value in values:
            self.decoded[value].set()
            await asyncio.sleep(0)

    async def come(self, *values: int) -> list[asyncio.Task[float]]:
        """Callers whose photos are decoded at once."""
        called = [self.call(value) for value in values]
        await self.decode(*values)
        return called


async def busy(server: Requests, callers: Callers, photos: int = 4) -> None:
    """Gives the server something to do, which stays out of its lists."""
    for value in range(100, 100 + photos):
        callers.call(value)
        await callers.decode(value)
    await server.until(photos)
    server.sent.clear()
    server.busy, server.answers = server.answers, []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Requests:
    return Requests()


@pytest.fixture
def callers(server: Requests) -> Callers:
    return Callers(server)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_photos_wait_for_those_that_are_being_decoded_and_go_together(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    others = [callers.call(value) for value in (1, 2, 3)]
    await callers.decode(1, 2)
    assert server.values == []
    await callers.decode(3)
    await server.until(1)
    assert server.values == [[1, 2, 3]]
    server.answer(0)
    assert list(await asyncio.gather(*others)) == [1, 2, 3]


async def test_nobody_waits_while_the_server_has_less_than_a_request_full_of_photos(
    server: Requests, callers: Callers
) -> None:
    await busy(server, callers)
    waits, decoding = callers.call(1), callers.call(2)
    await callers.decode(1)
    assert server.values == []
    server.busy[0].set_result(None)
    await server.until(1)
    server.answer(0)
    assert await waits == 1
    await callers.decode(2)
    await server.until(2)
    assert server.values == [[1], [2]]
    server.answer(1)
    assert await decoding == 2


async def test_a_photo_that_takes_long_to_decode_holds_nobody_up_for_long(server: Requests) -> None:
    callers = Callers(server, wait=0.01)
    await busy(server, callers)
    slow, ready = callers.call(1), callers.call(2)
    await callers.decode(2)
    await server.until(1)
    server.answer(0)
    assert await ready == 2
    assert not slow.done()
    slow.cancel()


async def test_what_was_waited_for_in_vain_holds_nobody_else_up(server: Requests) -> None:
    callers = Callers(server, wait=0.01)
    await busy(server, callers)
    slow, first = callers.call(1), callers.call(2)
    await callers.decode(2)
    await server.until(1)
    callers.wait = 60.0
    second = callers.call(3)
    await callers.decode(3)
    await server.until(2)
    server.answer(0)
    server.answer(1)
    assert list(await asyncio.gather(first, second)) == [2, 3]
    slow.cancel()


async def test_several_servers_are_all_given_something_before_anybody_waits(server: Requests) -> None:
    callers = Callers(server, servers=2)
    await busy(server, callers)
    others = [callers.call(value) for value in range(1, 8)]
    await callers.decode(1, 2, 3, 4)
    await server.until(4)
    assert server.values == [[1], [2], [3], [4]]
    await callers.decode(5, 6)
    assert len(server.sent) == 4
    await callers.decode(7)
    await server.until(5)
    assert server.values[4] == [5, 6, 7]
    for number in range(5):
        server.answer(number)
    assert list(await asyncio.gather(*others)) == list(range(1, 8))


async def test_a_version_that_is_read_again_is_the_same_unless_it_has_changed(
    server: Requests, callers: Callers
) -> None:
    await busy(server, callers)
    first, decoding = callers.call(1), callers.call(2)
    await callers.decode(1)
    assert server.values == []
    callers.contract = replace(CONTRACT)
    callers.call(3)
    await callers.decode(2, 3)
    await server.until(1)
    assert server.values == [[1, 2, 3]]
    callers.contract = replace(CONTRACT, labels=("b",))
    callers.call(4)
    callers.call(5)
    await callers.decode(4)
    await server.until(2)
    assert server.values[1] == [4]
    server.answer(0)
    assert list(await asyncio.gather(first, decoding)) == [1, 2]


async def test_only_an_answer_says_how_long_the_server_takes(server: Requests) -> None:
    callers = Callers(server)
    await busy(server, callers, photos=5)
    await asyncio.sleep(0.05)
    server.busy[0].set_result(None)
    hasty = callers.call(1)
    await callers.decode(1)
    await server.until(1)
    hasty.cancel()
    await until(server.answers[0].cancelled)
    callers.call(2)
    callers.call(3)
    await callers.decode(2)
    assert len(callers.last_answers) == 1
    assert callers.last_answers[0] >= 0.05


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_photo_is_left_when_it_is_answered_or_has_failed(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    for number, fails in enumerate((False, True)):
        others = await callers.come(1, 2)
        await server.until(number + 1)
        if fails:
            server.answers[number].set_exception(ModelServerUnavailable("away"))
        else:
            server.answer(number)
        for one in others:
            with suppress(ModelServerUnavailable):
                await one
        del one, others
    server.answers.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # what has just ended is let go by the event loop
    assert [pixels() is None for pixels in callers.pixels[-4:]] == [True] * 4


def test_the_wait_is_a_part_of_what_the_server_takes_and_never_long() -> None:
    assert longest_wait(0.004) == 0.002
    assert longest_wait(30) == WAIT_SECONDS == 0.02


async def test_a_full_request_waits_for_nobody(server: Requests) -> None:
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


async def test_each_has_a_request_of_its_own_where_only_one_may_be_in_it(server: Requests) -> None:
    callers = Callers(server, max_photos=1)
    await busy(server, callers)
    await callers.come(1, 2)
    await server.until(2)
    assert server.values == [[1], [2]]


async def test_each_has_a_request_of_its_own_where_several_are_too_large_for_one(server: Requests) -> None:
    side = int((MAX_REQUEST_BYTES / 3 / 4) ** 0.5) + 1
    callers = Callers(server, side=side)
    await busy(server, callers)
    for value in (1, 2, 3):
        callers.call(value)
    await callers.decode(1, 2)
    await server.until(2)
    assert server.values == [[1], [2]]


async def test_a_photo_that_cannot_be_decoded_lets_the_others_go(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    good, bad = callers.call(1), callers.call(2, readable=False)
    await callers.decode(1, 2)
    assert await bad == -1
    await server.until(1)
    server.answer(0)
    assert await good == 1


async def test_every_caller_keeps_its_own_deadline(server: Requests, callers: Callers) -> None:
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


async def test_a_caller_that_goes_takes_along_its_photo_and_no_other(server: Requests, callers: Callers) -> None:
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


async def test_a_request_is_cancelled_when_all_its_callers_are_gone(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    others = await callers.come(1, 2)
    await server.until(1)
    others[0].cancel()
    await asyncio.wait([others[0]])
    assert not server.answers[0].cancelled()
    others[1].cancel()
    await until(server.answers[0].cancelled)


@pytest.mark.parametrize("kind", [ModelServerFailed, UnsupportedModel])
async def test_what_fails_together_is_asked_for_alone_and_so_is_what_follows(
    server: Requests, callers: Callers, kind: type[GatewayError]
) -> None:
    await busy(server, callers)
    good, bad = callers.call(1), callers.call(2)
    await callers.decode(1, 2)
    await server.until(1)
    server.answers[0].set_exception(kind("one of them"))
    await server.until(3)
    assert server.values[1:] == [[1], [2]]
    server.answer(1)
    server.answers[2].set_exception(kind("this one"))
    assert await good == 1
    with pytest.raises(kind, match="this one"):
        await bad
    for one in server.busy:
        one.set_result(None)
    await asyncio.sleep(0.01)  # nothing goes on any more
    server.sent.clear()
    server.answers.clear()
    await busy(server, callers)
    await callers.come(3, 4)
    await server.until(2)
    assert server.values == [[3], [4]]


async def test_those_who_wait_when_a_request_is_refused_go_alone_too(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    await callers.come(1, 2)
    await server.until(1)
    for value in (3, 4, 5):
        callers.call(value)
    await callers.decode(3, 4)
    server.answers[0].set_exception(ModelServerFailed("too many"))
    await server.until(5)
    assert sorted(server.values) == [[1], [1, 2], [2], [3], [4]]


async def test_when_the_last_who_waits_goes_the_next_waits_as_long_as_any(server: Requests) -> None:
    callers = Callers(server, wait=0.1)
    await busy(server, callers)
    goes, _decoding = callers.call(1), callers.call(2)
    await callers.decode(1)
    await asyncio.sleep(0.06)
    goes.cancel()
    callers.call(3)
    began = time.monotonic()
    await callers.decode(3)
    await server.until(1)
    assert time.monotonic() - began >= 0.09
    assert server.values == [[3]]


async def test_a_deadline_that_is_over_costs_the_server_nothing(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    late, other = callers.call(1, seconds=0.0), callers.call(2)
    await callers.decode(1)
    with pytest.raises(DeadlineExceeded):
        await late
    await callers.decode(2)
    await server.until(1)
    assert server.values == [[2]]
    server.answer(0)
    assert await other == 2


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ModelServerUnavailable("away"), ModelServerUnavailable),
        (ServableNotFound("gone"), ServableNotFound),
        (asyncio.CancelledError(), ModelServerUnavailable),  # gRPC: the connection was closed
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
async def test_what_is_nobodys_fault_is_told_to_all_and_not_tried_again(
    server: Requests, callers: Callers, failure: BaseException, told: type[Exception]
) -> None:
    await busy(server, callers)
    others = await callers.come(1, 2)
    await server.until(1)
    server.answers[0].set_exception(failure)
    for one in others:
        with pytest.raises(told):
            await one
    assert len(server.sent) == 1


async def test_the_model_server_is_told_the_ids_of_all(server: Requests, callers: Callers) -> None:
    await busy(server, callers)
    await callers.come(1, 2)
    await server.until(1)
    assert [said for *_, said in server.sent] == ["id1,id2"]


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


@pytest.mark.parametrize(
    "settings", [{"max_joined_photos": 1}, {"max_predict_batch_size": 1}, {"tracing": True}], ids=str
)
def test_where_each_is_to_have_its_own_request_no_photos_go_together(
    start: Start, model_server: ColourServer, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    serve(model_server, slow_scores)
    gateway = start(**settings)
    for _ in range(3):
        assert {one.status_code for one in ask(gateway)} == {200}
    assert set(model_server.batch_sizes) == {1}


def test_callers_who_hang_up_take_their_requests_along(start: Start, model_server: ColourServer) -> None:
    serve(model_server, slow_scores)
    gateway = start(model_refresh_seconds=60, request_timeout_seconds=60)
    until_joined(model_server, gateway)
    address = (gateway.base_url.host, gateway.base_url.port or 80)
    body = photo("red", (700, 700))
    head = f"POST /api/v1/predict_breed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    end = time.monotonic() + 30
    joined = False
    while not joined:
        assert time.monotonic() < end, "no photos went together"
        model_server.stalled.set()
        callers = [socket.create_connection(address, timeout=10) for _ in range(16)]
        for caller in callers:
            caller.sendall(head + body)
        processes.until(lambda: gauge(gateway, "gateway_images_in_flight") == 16)
        time.sleep(WAIT_SECONDS * 2)  # by then none that is ready waits for others
        processes.until(lambda: model_server.waiting > 0)
        joined = model_server.waiting < 16
        for caller in callers:
            caller.close()
        processes.until(lambda: gauge(gateway, "gateway_images_in_flight") == 0)
        processes.until(lambda: model_server.waiting == 0)
        model_server.stalled.clear()
        assert {one.status_code for one in ask(gateway)} == {200}


def gauge(gateway: httpx.Client, name: str) -> float:
    """A value out of the gateway's metrics."""
    [line] = [line for line in gateway.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])
