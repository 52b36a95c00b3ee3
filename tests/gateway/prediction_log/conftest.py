"""A folder for a prediction log, and logs that do at once what they otherwise do once a second."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("writer", "shipper"):
        monkeypatch.setattr(f"gateway.prediction_log.{module}.TICK_SECONDS", 0.05)
    monkeypatch.setattr("gateway.prediction_log.review.CLOSE_DUE_SECONDS", 0.05)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The folder of a log."""
    return tmp_path / "log"
