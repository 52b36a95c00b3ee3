from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from gateway.observability.logs import ConsoleFormatter, JsonFormatter
from gateway.observability.request_id import request_id
from testing.colour_server import ColourServer
from testing.gateway import gateway_process
from testing.photos import photo


def test_a_request_is_followed_by_its_id_from_the_access_log_to_the_model_server(
    model_server: ColourServer, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    with gateway_process(model_server.address, path, LOG_FORMAT="json") as (client, _):
        secret = {"authorization": "Bearer s3cret", "x-request-id": "trace-me-1"}
        assert client.post("/api/v1/predict_breed?top_k=2", content=photo(), headers=secret).status_code == 200
        client.get("/" + "%0A" * 2_500, headers={"x-request-id": "long"})
        client.post("/v1/models/nope:predict", content=b"{", headers={"x-request-id": "trace-me-2"})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    [first] = [line for line in lines if line.get("request_id") == "trace-me-1"]
    del first["time"], first["duration_ms"], first["message"]
    assert first == {
        "level": "info",
        "logger": "gateway.http.middleware.access",
        "request_id": "trace-me-1",
        "method": "POST",
        "path": "/api/v1/predict_breed",
        "status": 200,
        "model": "colours",
        "version": 1,
    }
    assert "trace-me-1" in model_server.request_ids
    [second] = [line for line in lines if line.get("request_id") == "trace-me-2"]
    assert second["status"] == 404
    [third] = [line for line in lines if line.get("request_id") == "long"]
    assert third["path"].startswith("/%0A%0A")
    assert len(third["path"]) < 3_001
    assert "s3cret" not in path.read_text()
    assert "/healthz" not in path.read_text()


def record(**extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "a.b", "levelname": "INFO", "msg": "said %s", "args": ("this",), **extra})


def test_an_exception_is_one_json_line() -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError as error:
        line = JsonFormatter().format(record(exc_info=(type(error), error, error.__traceback__)))
    assert "\n" not in line
    assert "broken" in json.loads(line)["exception"]


@pytest.mark.parametrize("request_id_value", ["", "abc"])
def test_a_console_line_ends_with_the_request_id_where_there_is_one(request_id_value: str) -> None:
    token = request_id.set(request_id_value)
    try:
        line = ConsoleFormatter().format(record())
    finally:
        request_id.reset(token)
    assert line.endswith("INFO a.b: said this [abc]" if request_id_value else "INFO a.b: said this")


FORGED = "bad\n2026-01-01 00:00:00,000 INFO gateway: all is well\r\x1b[31mred\x9b31m\u2028\u202etxt\x00"


def raised(text: str) -> logging.LogRecord:
    try:
        raise ValueError(text)
    except ValueError as error:
        return record(msg="failed: %s", args=(text,), exc_info=(type(error), error, error.__traceback__))


def test_no_text_of_others_begins_a_line_on_the_console_or_reaches_the_terminal_as_a_code() -> None:
    first, *others = ConsoleFormatter().format(raised(FORGED)).split("\n")
    assert r"failed: bad\n2026-01-01" in first
    assert r"\x1b[31mred\x9b31m\u2028\u202etxt\x00" in first
    assert any("Traceback" in line for line in others)
    assert all(line.startswith("    ") for line in others)
    assert all(character.isprintable() for line in (first, *others) for character in line)


def test_a_json_line_shows_no_control_character_and_keeps_the_text() -> None:
    line = JsonFormatter().format(raised(FORGED))
    assert line.isprintable()
    assert json.loads(line)["message"] == f"failed: {FORGED}"
