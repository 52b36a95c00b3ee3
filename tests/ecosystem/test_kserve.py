"""KServe's client as it is published, unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from testing import ROOT
from testing.photos import photo
from tests.gateway.http.routes.test_open_inference_clients import client as client

pytestmark = pytest.mark.clients

ENVIRONMENT = ROOT / ".venv-clients"
INSTALL_SECONDS = 300


@pytest.fixture(scope="session")
def python() -> Path:
    """Python of an environment with the dependency group ``clients``, made where there is none and then kept."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", ENVIRONMENT], check=True, timeout=60)
    install = (sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--group=clients")
    done = subprocess.run(install, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if "(from versions: none)" in done.stderr:  # what pip says when it reaches no index
        pytest.skip(f"needs kserve, of which no index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


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
