"""The package breed-client against a running gateway."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from breed_client import ApiError, AsyncClient, Classification, Client, ConnectionFailed, Retries
from breed_client.photos import MAX_BATCH_BYTES, batches

from gateway.settings import Settings
from testing import ROOT
from testing.colour_scores import COLOURS
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from testing.processes import LOOPBACK
from tests.gateway.conftest import patience

__all__ = ["patience"]

KEY = "secret"


@pytest.fixture(scope="module")
def server() -> Iterator[ColourServer]:
    server = ColourServer(
        models={"colours": {1: ColourModel(), 2: ColourModel()}, "strict": {1: ColourModel(threshold=1)}}
    )
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def gateway(server: ColourServer) -> Iterator[str]:
    """Address of a gateway with an API key."""
    values = {
        "serving_target": server.address,
        "default_model": "colours",
        "models": "strict",
        "api_keys": f"mine:{hashlib.sha256(KEY.encode()).hexdigest()}",
        "max_batch_images": 16,
        "request_timeout_seconds": 60,
    }
    with running_gateway(Settings.model_validate(values)) as client:
        yield str(client.base_url)


@pytest.fixture
def client(gateway: str) -> Iterator[Client]:
    with Client(gateway, api_key=KEY) as client:
        yield client


@pytest.fixture
async def async_client(gateway: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(gateway, api_key=KEY) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with seven photos, of which one is broken, and other files."""
    for index in range(6):
        place = tmp_path / f"part-{index % 2}"
        place.mkdir(exist_ok=True)
        (place / f"{index}-{COLOURS[index % 3]}.JPG").write_bytes(photo(COLOURS[index % 3]))
    (tmp_path / "part-1" / "broken.png").write_bytes(photo("red")[:40])
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / ".hidden.jpg").write_text("no photo")
    return tmp_path


def labels(results: list[tuple[Path, Classification | ApiError]]) -> dict[str, str | None]:
    return {path.name: one.code if isinstance(one, ApiError) else one.label for path, one in results}


EXPECTED = {f"{index}-{COLOURS[index % 3]}.JPG": COLOURS[index % 3] for index in (0, 2, 4, 1, 3, 5)} | {
    "broken.png": "invalid_image"
}


def test_a_photo_may_be_a_path_bytes_or_a_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "green.png"
    path.write_bytes(photo("green"))
    for image in (path, str(path), photo("green"), io.BytesIO(photo("green"))):
        answer = client.classify(image, top_k=2)
        assert (answer.label, answer.model, answer.version) == ("green", "colours", 2)
        assert answer.predictions[0].label == "green"
        assert len(answer.predictions) == 2
        assert answer.confidence == answer.predictions[0].score
    assert client.classify(photo("red"), version=1).version == 1


def test_a_model_is_chosen_by_name_and_an_unknown_photo_has_no_label(gateway: str) -> None:
    with Client(gateway, api_key=KEY, model="strict") as client:
        answer = client.classify(photo("red"))
    assert (answer.label, answer.model) == (None, "strict")
    assert answer.predictions[0].label == "red"


def test_a_batch_has_a_result_for_each_photo(client: Client) -> None:
    red, broken, blue = client.classify_batch([photo("red"), b"not an image", photo("blue")])
    assert isinstance(red, Classification)
    assert isinstance(blue, Classification)
    assert (red.label, blue.label) == ("red", "blue")
    assert isinstance(broken, ApiError)
    assert (broken.code, broken.status, broken.retryable) == ("unsupported_image", 415, False)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_a_folder_is_classified_in_batches(client: Client, folder: Path, batch_size: int) -> None:
    results = list(client.classify_folder(folder, batch_size=batch_size))
    assert labels(results) == EXPECTED
    assert [path for path, _ in results] == sorted(path for path, _ in results)


async def test_the_asynchronous_client_does_the_same(async_client: AsyncClient, folder: Path) -> None:
    assert (await async_client.classify(photo("blue"))).label == "blue"
    results = [one async for one in async_client.classify_folder(folder, batch_size=2, concurrency=2)]
    assert labels(results) == EXPECTED
    assert [path for path, _ in results] == sorted(path for path, _ in results)
    assert await async_client.is_ready()
    assert [one["name"] for one in await async_client.models()] == ["colours", "strict"]
    with pytest.raises(ApiError, match="unsupported_image"):
        await async_client.classify(b"no image")


def test_models_and_readiness(client: Client, port: int) -> None:
    assert [one["name"] for one in client.models()] == ["colours", "strict"]
    assert client.is_ready()
    with Client(f"http://{LOOPBACK}:{port}") as nobody:
        assert not nobody.is_ready()


def test_an_error_says_what_the_gateway_says(gateway: str) -> None:
    with Client(gateway) as client, pytest.raises(ApiError) as error:
        client.classify(photo("red"))
    raised = error.value
    assert (raised.status, raised.code, raised.retryable) == (401, "unauthorized", False)
    assert raised.request_id
    with (
        Client(gateway, api_key=KEY, model="no/pe?") as client,
        pytest.raises(ApiError, match=r"invalid_param|not_found"),
    ):
        client.classify(photo("red"))


def test_a_request_is_repeated_until_the_model_server_is_back(server: ColourServer, client: Client) -> None:
    server.busy = 4 * 2  # the gateway itself tries four times
    try:
        assert client.classify(photo("red")).label == "red"
    finally:
        server.busy = 0


Handler = Callable[[httpx.Request], httpx.Response]


def problem(status: int, headers: dict[str, str], *, retryable: bool) -> httpx.Response:
    body = {"status": status, "code": "overloaded", "detail": "Full.", "retryable": retryable, "request_id": "r"}
    return httpx.Response(status, json=body, headers=headers)


def answered(responses: list[httpx.Response], retries: Retries) -> tuple[ApiError | None, int, float]:
    """The error, the number of requests and the seconds of a call that gets these answers, one after the other."""
    bodies: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return responses[len(bodies) - 1]

    started = time.monotonic()
    error = None
    with Client("http://gateway", retries=retries, transport=httpx.MockTransport(handle)) as client:
        try:
            client.classify(b"photo")
        except ApiError as raised:
            error = raised
    assert bodies == [b"photo"] * len(bodies)
    return error, len(bodies), time.monotonic() - started


SUCCESS: dict[str, object] = {
    "breed": "x",
    "looks_like": None,
    "confidence": 1,
    "predictions": [],
    "model": {"name": "m", "version": 1},
}


def test_retry_after_and_retryable_are_honoured() -> None:
    good = httpx.Response(200, json=SUCCESS)
    quick = Retries(backoff_seconds=0.001)
    full = problem(429, {"Retry-After": "1"}, retryable=True)
    error, count, seconds = answered([full, good], quick)
    assert (error, count) == (None, 2)
    assert seconds >= 1
    error, count, _ = answered([problem(429, {}, retryable=False)], quick)
    assert error is not None
    assert count == 1
    error, count, _ = answered([problem(503, {}, retryable=True)] * 3, Retries(attempts=3, backoff_seconds=0.001))
    assert error is not None
    assert (error.request_id, count) == ("r", 3)
    late = problem(429, {"Retry-After": "3600"}, retryable=True)
    error, count, _ = answered([late], quick)
    assert error is not None
    assert (error.retry_after, count) == (3600, 1)
    proxy = httpx.Response(503, text="<html>")
    error, count, _ = answered([proxy, good], quick)
    assert (error, count) == (None, 2)
    for status in (200, 404):
        error, _, _ = answered([httpx.Response(status, text="<html>")], quick)
        assert error is not None
        assert (error.code, error.retryable) == (f"http_{status}", False)


def test_waits_grow_and_are_bounded() -> None:
    retries = Retries(attempts=9, backoff_seconds=1, max_wait_seconds=10)
    failed = httpx.ConnectError("refused", request=httpx.Request("GET", "http://gateway"))
    waits = [retries.wait_after(attempt, failed) for attempt in range(1, 9)]
    bounds = [min(2.0**attempt, 8) for attempt in range(8)]
    assert all(0.75 * low <= wait <= 10 for wait, low in zip(waits, bounds, strict=True))
    with pytest.raises(ConnectionFailed, match="no answer from http://gateway: refused"):
        retries.wait_after(9, failed)


def test_a_gateway_that_is_started_later_is_reached(port: int) -> None:
    answers: list[str | None] = []
    retries = Retries(attempts=200, backoff_seconds=0.1, max_wait_seconds=0.2)

    def call() -> None:
        with Client(f"http://{LOOPBACK}:{port}", retries=retries) as client:
            answers.append(client.classify(photo("red")).label)

    caller = threading.Thread(target=call)
    caller.start()
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving() as address:
        values = {"serving_target": address, "default_model": "colours", "request_timeout_seconds": 60}
        with running_gateway(Settings.model_validate(values), port=port):
            until(lambda: bool(answers))
            caller.join()
    assert answers == ["red"]


def test_no_answer_at_all_is_an_error_of_its_own(port: int) -> None:
    retries = Retries(attempts=2, backoff_seconds=0.001)
    with Client(f"http://{LOOPBACK}:{port}", retries=retries) as client, pytest.raises(ConnectionFailed):
        client.classify(photo("red"))


def test_a_batch_of_a_folder_is_bounded_in_files_and_bytes(tmp_path: Path) -> None:
    sizes = [1, 1, 1, MAX_BATCH_BYTES + 1, 1, MAX_BATCH_BYTES - 1, 1, 1]
    paths = [tmp_path / str(index) for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        with path.open("wb") as file:
            file.truncate(size)
    grouped = [[int(path.name) for path in batch] for batch in batches(paths, 2)]
    assert grouped == [[0, 1], [2], [3], [4, 5], [6, 7]]


def test_its_version_is_that_of_the_gateway_and_it_needs_only_httpx() -> None:
    ours, theirs = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in ("", "clients/python")
    )
    assert theirs["version"] == ours["version"]
    assert theirs["dependencies"] == ["httpx>=0.28"]
