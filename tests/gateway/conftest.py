"""A gateway and a model server on loopback, both real."""

from __future__ import annotations

import atexit
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from gateway.app import create_app
from gateway.http.server.protocol import HttpProtocol
from gateway.settings import Settings
from gateway.workers.fork_server import ForkServer
from testing.colour_server import ColourModel, ColourServer

RGB = {"red": (250, 20, 10), "green": (20, 240, 30), "blue": (10, 30, 250), "grey": (128, 128, 128)}


def photo(colour: str = "red", size: tuple[int, int] = (40, 30), encoding: str = "PNG") -> bytes:
    """An encoded image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, RGB[colour]).save(buffer, encoding)
    return buffer.getvalue()


FORK_SERVER = ForkServer()
"""Shared by all gateways of a test process, since each start of one costs 0.3 s of CPU time."""
atexit.register(FORK_SERVER.close)


@contextmanager
def running_gateway(settings: Settings, app: ASGIApp | None = None, port: int = 0) -> Iterator[httpx.Client]:
    """A gateway on a free port or that one, and a client of it; `app` may be the gateway with something around it."""
    config = uvicorn.Config(
        app or create_app(settings, fork_server=FORK_SERVER),
        port=port,
        http=HttpProtocol,
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline, "the gateway did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def model_server() -> Iterator[ColourServer]:
    """A model server with one version of a model named ``colours``."""
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving():
        yield server


@pytest.fixture
def start(model_server: ColourServer) -> Iterator[Callable[..., httpx.Client]]:
    """Starts gateways before that model server, with any settings."""
    with ExitStack() as stack:

        def start_gateway(**settings: object) -> httpx.Client:
            values: dict[str, object] = {
                "serving_target": model_server.address,
                "default_model": "colours",
                "model_refresh_seconds": 0.05,
            }
            return stack.enter_context(running_gateway(Settings.model_validate(values | settings)))

        yield start_gateway


@pytest.fixture
def gateway(start: Callable[..., httpx.Client]) -> httpx.Client:
    """A client of a gateway with the usual settings."""
    return start()
