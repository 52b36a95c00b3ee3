"""Environments for published clients, apart from the project's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing import ROOT

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
