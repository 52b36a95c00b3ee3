"""A gateway and a model server on loopback, both real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway


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
                "request_timeout_seconds": 60,  # a busy machine is slow
            }
            return stack.enter_context(running_gateway(Settings.model_validate(values | settings)))

        yield start_gateway


@pytest.fixture
def gateway(start: Callable[..., httpx.Client]) -> httpx.Client:
    """A client of a gateway with the usual settings."""
    return start()
