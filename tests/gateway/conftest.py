"""A gateway and a model server on loopback, both real."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from gateway.inference import readiness
from gateway.serving import resolver
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateways
from testing.polling import DEADLINE_SECONDS


@pytest.fixture(autouse=True)
def patience() -> Iterator[pytest.MonkeyPatch]:
    """Time enough for what gateways ask by themselves. They give seconds, which some machines stand still for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolver, "LOOKUP_SECONDS", DEADLINE_SECONDS)
        patch.setattr(readiness, "PROBE_SECONDS", DEADLINE_SECONDS)
        yield patch


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
