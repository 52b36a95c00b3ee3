"""Environments for published clients, apart from the project's own, and a real model server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from testing import ROOT
from testing.modelserver import Server
from tests.ecosystem.mixed_model import Mixed

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
        pytest.skip(f"needs published clients, of which no index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """A folder with the npm package ``@huggingface/inference``, kept beside the Python environment."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    folder = ENVIRONMENT / "node"
    folder.mkdir(parents=True, exist_ok=True)
    install = (npm, "install", "--silent", "--no-audit", "--no-fund", "@huggingface/inference@4")
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if not (folder / "node_modules" / "@huggingface" / "inference").is_dir():
        pytest.skip(f"npm cannot install @huggingface/inference: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="package")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a model server with one model, ``mixed``."""
    folder = tmp_path_factory.mktemp("models")
    model = Mixed()
    signatures = {"serving_default": model.serve, "mix": model.mix}
    tf.saved_model.save(model, str(folder / "mixed" / "3"), signatures=signatures)
    server = Server("--model_name=mixed", f"--model_base_path={folder / 'mixed'}")
    try:
        yield server.address
    finally:
        server.close()


@pytest.fixture(scope="package")
def stub(serving: str) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(serving) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
