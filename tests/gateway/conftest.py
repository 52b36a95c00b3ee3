"""A gateway and a model server on loopback, both real."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateways


@pytest.fixture
def model_server() -> Iterator[ColourServer]:
    """A model server with one version of a model named ``colours``."""
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving():
        yield server


@pytest.fixture
def start(model_server: ColourServer) -> Iterator[Callable[..., httpx.Client]]:
    """Starts gateways before that model server, with any settings."""
    with gateways(model_server.address) as start:
        yield start


@pytest.fixture
def gateway(start: Callable[..., httpx.Client]) -> httpx.Client:
    """A client of a gateway with the usual settings."""
    return start()
