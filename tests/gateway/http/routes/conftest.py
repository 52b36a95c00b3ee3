"""A gateway before a model of many signatures."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.settings import Settings
from testing.colour_server import ColourServer
from testing.gateway import running_gateway
from testing.processes import LOOPBACK
from tests.gateway.http.routes.arithmetic import Arithmetic


@pytest.fixture
def address(port: int) -> str:
    """An address of a model server that can be stopped and started again."""
    return f"{LOOPBACK}:{port}"


@pytest.fixture(scope="module")
def sums_server() -> Iterator[ColourServer]:
    server = ColourServer(models={"sums": {1: Arithmetic(), 2: Arithmetic()}}, labels={("sums", "stable"): 1})  # type: ignore[dict-item]
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def arithmetic(sums_server: ColourServer) -> Iterator[httpx.Client]:
    values = {"serving_target": sums_server.address, "default_model": "sums"}
    settings = Settings.model_validate({**values, "request_timeout_seconds": 60})  # a busy machine is slow
    with running_gateway(settings) as client:
        yield client
