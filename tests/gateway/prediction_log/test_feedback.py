"""Feedback on answers, over HTTP and in the log."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest

from gateway.http.routes import feedback
from gateway.prediction_log.records import Feedback
from testing.colour_server import ColourModel, ColourServer
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.prediction_log.written import records

Start = Callable[..., httpx.Client]


PREDICT = "/api/v1/models/colours/predict"


def test_feedback_is_recorded_and_a_new_label_is_marked(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    for body in (
        {"request_id": "one", "verdict": "right", "version": 7},
        {"request_id": "two", "index": 3, "verdict": "wrong", "label": "blue", "version": 1},
        {"digest": "0" * 64, "verdict": "wrong", "label": "purple"},
        {"request_id": "four", "verdict": "none"},
        {"request_id": "one", "verdict": "withdrawn"},
    ):
        answer = gateway.post("/api/v1/feedback", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"status": "recorded", "new_label": body.get("label") == "purple"}
    log_records = records(tmp_path, 5)
    assert [(one.verdict, one.label, one.new_label) for one in log_records if isinstance(one, Feedback)] == [
        ("right", None, False),
        ("wrong", "blue", False),
        ("wrong", "purple", True),
        ("none", None, False),
        ("withdrawn", None, False),
    ]
    assert gateway.get("/api/v1/models/colours").json()["feedback"] is True
    counted = gateway.get("/metrics").text
    assert 'gateway_feedback_total{model="colours",verdict="wrong",version="1"} 1.0' in counted
    assert 'gateway_feedback_total{model="colours",verdict="wrong",version=""} 1.0' in counted
    assert 'gateway_feedback_total{model="colours",verdict="right",version=""} 1.0' in counted  # 7 is not loaded


def test_made_up_models_do_not_become_metrics(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    for number in range(3):
        feedback = {"request_id": "a", "verdict": "right", "model": f"made-up-{number}"}
        assert gateway.post("/api/v1/feedback", json=feedback).status_code == 200
    metrics = gateway.get("/metrics").text
    assert 'gateway_feedback_total{model="other",verdict="right",version=""} 3.0' in metrics
    assert "made-up" not in metrics


@pytest.mark.parametrize(
    "feedback",
    [
        {"verdict": "right"},
        {"request_id": "a", "digest": "0" * 64, "verdict": "right"},
        {"request_id": "a", "verdict": "wrong"},
        {"request_id": "a", "verdict": "right", "label": "red"},
        {"request_id": "a", "verdict": "maybe"},
        {"request_id": "a", "verdict": "withdrawn", "label": "red"},
        {"request_id": "a\nb", "verdict": "right"},
        {"digest": "xyz", "verdict": "right"},
        {"request_id": "a", "verdict": "wrong", "label": "re\nd"},
        {"request_id": "a", "verdict": "right", "filename": "a.jpg"},
    ],
)
def test_feedback_that_makes_no_sense_is_refused(start: Start, tmp_path: Path, feedback: dict[str, object]) -> None:
    gateway = start(prediction_log=str(tmp_path))
    answer = gateway.post("/api/v1/feedback", json=feedback)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_parameter"


def test_feedback_is_small(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    answer = gateway.post("/api/v1/feedback", content=b'{"request_id": "' + b"a" * 20_000 + b'"}')
    assert answer.status_code == 413
    assert answer.json()["code"] == "upload_too_large"


def test_a_client_that_hangs_up_during_its_feedback_is_no_error(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(prediction_log=str(tmp_path))
    with socket.create_connection((gateway.base_url.host, gateway.base_url.port)) as client:
        client.sendall(b"POST /api/v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until(lambda: "gateway_requests_in_flight 2.0" in gateway.get("/metrics").text)
    until(lambda: "gateway_requests_in_flight 1.0" in gateway.get("/metrics").text)
    assert 'status="500"' not in gateway.get("/metrics").text
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_feedback_is_taken_while_the_model_server_is_away(
    start: Start, tmp_path: Path, model_server: ColourServer
) -> None:
    gateway = start(prediction_log=str(tmp_path))
    model_server.refusal = (grpc.StatusCode.UNAVAILABLE, "away")
    answer = gateway.post("/api/v1/feedback", json={"request_id": "a", "verdict": "wrong", "label": "blue"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("version", [{}, {"version": 1}])
def test_feedback_does_not_wait_for_a_model_server_that_hangs(
    start: Start,
    tmp_path: Path,
    model_server: ColourServer,
    monkeypatch: pytest.MonkeyPatch,
    version: dict[str, int],
) -> None:
    monkeypatch.setattr(feedback, "DESCRIPTION_SECONDS", 0.1)
    gateway = start(prediction_log=str(tmp_path), request_timeout_seconds=600)
    model_server.stalled.set()
    for verdict in ("right", "none", "withdrawn"):
        body = {"request_id": "a", "verdict": verdict, **version}
        assert gateway.post("/api/v1/feedback", json=body, timeout=DEADLINE_SECONDS / 2).status_code == 200
    assert len(records(tmp_path, 3)) == 3


def test_the_version_that_answered_says_which_labels_are_new(
    start: Start, tmp_path: Path, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(labels=("red", "green")), 2: ColourModel()}
    gateway = start(prediction_log=str(tmp_path))
    feedback = {"request_id": "a", "verdict": "wrong", "label": "blue"}
    for version, new in ((1, True), (2, False), (7, False), (None, False)):
        answer = gateway.post("/api/v1/feedback", json=feedback | {"version": version})
        assert answer.json()["new_label"] is new, answer.text
