"""Who may call: what is closed without a right key, and what a key looks like."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.security.api_keys import ApiKeys
from testing import ROOT
from testing.photos import photo
from tests.gateway.security.keys import hashed

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


def test_without_a_right_key_the_api_is_closed_and_the_rest_is_open(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated in May\n\nsecond:{hashed('two')}\n")
    client = start(api_keys=f"first:{hashed('one')}", api_keys_file=file)
    for path in ("/", "/web/style.css", "/docs", "/openapi.json", "/healthz", "/livez", "/readyz"):
        assert client.get(path).status_code == 200, path
    for headers in ({}, {"x-api-key": "three"}, {"authorization": "Bearer three"}, {"authorization": "Basic one"}):
        for answer in (
            client.post(BREED, content=photo(), headers=headers),
            client.get("/api/v1/models", headers=headers),
            client.get("/nowhere", headers=headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    for headers in ({"x-api-key": "one"}, {"authorization": "bearer one"}, {"authorization": "Bearer two"}):
        assert client.post(BREED, content=photo(), headers=headers).status_code == 200


def test_no_key_is_ever_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    client = start(api_keys=hashed("very-secret"))
    with caplog.at_level(logging.DEBUG):
        client.get("/api/v1/models", headers={"x-api-key": "very-secret"})
        client.get("/api/v1/models", headers={"authorization": "Bearer wrong-secret"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("gateway", "uvicorn"))]
    assert not any("secret" in line for line in ours)


def test_the_key_that_the_program_makes_is_the_key_of_its_hash() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.security.api_keys"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    key, entry = (line.split()[-1] for line in done.stdout.splitlines())
    assert len(key) >= 43
    assert ApiKeys([f"mine:{entry}"]).owner(key) == "mine"
    assert ApiKeys([entry]).owner(key + "x") is None
