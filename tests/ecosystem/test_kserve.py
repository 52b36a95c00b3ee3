"""KServe's client as it is published, unchanged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from testing.photos import photo
from tests.gateway.http.routes.test_open_inference_clients import client as client

pytestmark = pytest.mark.clients


def test_a_kserve_clients_calls_succeed_unchanged(client: httpx.Client, python: Path, tmp_path: Path) -> None:
    colours = ("green", "red")
    photos = [tmp_path / f"{colour}.jpg" for colour in colours]
    for path, colour in zip(photos, colours, strict=True):
        path.write_bytes(photo(colour))
    base = str(client.base_url).rstrip("/")
    script = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run([python, script, base, *photos], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["live"]
    assert answers["ready"]
    assert answers["models"] == {"doubler": True, "colours": True, "nope": False}
    assert answers["tensors"] == [{"y": [[2, 4], [6, 8]]}] * 2
    assert [row[0] for row in answers["photos"]["classes"]] == list(colours)
    assert answers["rows"] == {"predictions": [[2, 4], [6, 8]]}
