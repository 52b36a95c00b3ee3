"""Gateways before a model server with a stable version and a canary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway

CANARY = {"stable": 1, "canary": 2}


@pytest.fixture
def model_server() -> Iterator[ColourServer]:
    """Version 1 is stable and version 2 the canary."""
    served = ColourServer(models={"colours": {1: ColourModel(), 2: ColourModel()}})
    served.labels |= {("colours", label): version for label, version in CANARY.items()}
    with served.serving():
        yield served


@pytest.fixture
def start(model_server: ColourServer, tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    with ExitStack() as stack:

        def start_gateway(**settings: object) -> httpx.Client:
            values: dict[str, object] = {
                "serving_target": model_server.address,
                "default_model": "colours",
                "model_refresh_seconds": 0.05,
                "request_timeout_seconds": 60,
                "traffic_split_file": tmp_path / "split.json",
                "prediction_log": str(tmp_path / "log"),
            }
            return stack.enter_context(running_gateway(Settings.model_validate(values | settings)))

        yield start_gateway
