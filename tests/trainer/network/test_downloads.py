"""Weights that are downloaded: a network that does not answer or stalls is said."""

import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest

from trainer.network import downloads

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def silent_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections are taken and never answered, as by a network that drops packets."""
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        # One that an earlier test's request made has read the proxies of its time.
        monkeypatch.setattr("urllib.request._opener", None)
        yield


@pytest.mark.usefixtures("silent_network")
def test_a_network_that_does_not_answer_is_said_in_one_line(trainer: Trainer, data: Path) -> None:
    status, _, error = trainer("train", data, "--name", "x", "--backbone", "vgg19")
    assert status == 3
    assert (
        "weights of vgg19 cannot be downloaded (no answer within 0.3 s); use --weights FILE" in error.splitlines()[-1]
    )


def test_the_opener_of_before_is_back_after_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    own = urllib.request.build_opener()
    monkeypatch.setattr(urllib.request, "_opener", own)
    with downloads.downloads_with_timeout():
        assert urllib.request._opener is not own  # type: ignore[attr-defined]
    assert urllib.request._opener is own  # type: ignore[attr-defined]


def test_a_download_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = stack.enter_context(ThreadPoolExecutor(1))

        def answer_in_part() -> None:
            connection, _ = server.accept()
            stack.enter_context(connection).sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")

        def begun(seconds: float) -> HTTPResponse | None:
            """The answer; None if even its beginning comes too late, on a busy machine."""
            monkeypatch.setattr(downloads, "STALL_SECONDS", seconds)
            answering = thread.submit(answer_in_part)
            try:
                answer: HTTPResponse = urllib.request.urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/")
            except OSError:
                answering.exception()
                return None
            return answer

        with downloads.downloads_with_timeout():
            answer = next(filter(None, map(begun, (0.2, 2.0, 20.0))))
            with answer, pytest.raises(TimeoutError):
                answer.read()
