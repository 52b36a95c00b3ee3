"""Hugging Face's clients as they are published, unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo

pytestmark = pytest.mark.clients

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving() as address:
        values = {"serving_target": address, "default_model": "colours"}
        settings = Settings.model_validate({**values, "request_timeout_seconds": 60})  # a busy machine is slow
        with running_gateway(settings) as client:
            yield client


def answers(command: list[str | Path], cwd: Path | None = None) -> dict[str, object]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert isinstance(printed, dict)
    return printed


@pytest.fixture
def green(tmp_path: Path) -> Path:
    path = tmp_path / "green.jpg"
    path.write_bytes(photo("green"))
    return path


def test_the_python_clients_calls_succeed_unchanged(client: httpx.Client, python: Path, green: Path) -> None:
    url = f"{str(client.base_url).rstrip('/')}/hf/models/colours"
    answer = answers([python, FOLDER / "hugging_face_client.py", url, green])
    assert "not an image" in str(answer.pop("refused"))
    first = {name: labels[0] for name, labels in answer.items() if isinstance(labels, list)}
    assert first == dict.fromkeys(("bytes", "path", "top_k", "call_model"), "green")
    counts = {name: len(labels) for name, labels in answer.items() if isinstance(labels, list)}
    assert counts == {"bytes": 3, "path": 3, "top_k": 2, "call_model": 1}


def test_the_javascript_clients_calls_succeed_unchanged(client: httpx.Client, node_modules: Path, green: Path) -> None:
    url = f"{str(client.base_url).rstrip('/')}/hf/models/colours"
    script = node_modules / "client.mjs"  # where node finds the package
    shutil.copyfile(FOLDER / "hugging_face_client.mjs", script)
    answer = answers(["node", script, url, green])
    assert "not an image" in str(answer.pop("refused"))
    assert [labels[0] for labels in answer.values() if isinstance(labels, list)] == ["green"] * 3
