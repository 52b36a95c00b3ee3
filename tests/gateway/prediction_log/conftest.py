"""Prediction logs that do at once what they otherwise do once a second."""

import pytest


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("writer", "shipper"):
        monkeypatch.setattr(f"gateway.prediction_log.{module}.TICK_SECONDS", 0.05)
    monkeypatch.setattr("gateway.prediction_log.review.CLOSE_DUE_SECONDS", 0.05)
