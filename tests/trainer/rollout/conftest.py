"""Gateways before a model server with a stable version and a canary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateways
from testing.polling import DEADLINE_SECONDS
from tests.gateway.conftest import patience
from trainer.rollout import metrics, rollout

__all__ = ["patience"]

CANARY = {"stable": 1, "canary": 2}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways that answer late, because the machine is busy, are not taken for dead."""
    monkeypatch.setattr(metrics, "SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(rollout, "BLIND_SECONDS", DEADLINE_SECONDS)


@pytest.fixture
def model_server() -> Iterator[ColourServer]:
    """Version 1 is stable and version 2 the canary."""
    served = ColourServer(models={"colours": {1: ColourModel(), 2: ColourModel()}})
    served.labels |= {("colours", label): version for label, version in CANARY.items()}
    with served.serving():
        yield served


@pytest.fixture
def start(model_server: ColourServer, tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    kept = {"traffic_split_file": tmp_path / "split.json", "prediction_log": str(tmp_path / "log")}
    with gateways(model_server.address, **kept) as start:
        yield start
