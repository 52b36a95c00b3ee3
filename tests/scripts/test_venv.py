"""`scripts/venv`, in a repository of its own whose requirements are empty, so that nothing is downloaded.

That includes uv, so pip installs here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.polling import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]


def new_repository(folder: Path) -> Path:
    (folder / "scripts").mkdir()
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "scripts/venv", folder / "scripts/venv")
    for name in ("gateway", "trainer", "dev", "uv"):
        (folder / f"requirements/{name}.txt").write_text("# nothing\n")
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with its environment, which was made where the Python of an earlier one had gone."""
    repository = new_repository(tmp_path_factory.mktemp("repository"))
    (repository / ".venv/bin").mkdir(parents=True)
    (repository / ".venv/bin/python").symlink_to("/nowhere/python3.11")
    made = venv(repository)
    assert made.returncode == 0, made.stderr
    assert "Installing requirements/trainer.txt" in made.stderr
    return repository


def venv(repository: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/venv", "trainer"],
        cwd=repository,
        env={**os.environ, "PYTHON": python, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,  # it makes an environment, which takes 8 s on an idle machine
    )


def test_nothing_is_installed_until_the_requirements_change(repository: Path) -> None:
    assert venv(repository).stderr == ""
    (repository / "requirements/gateway.txt").write_text("# still nothing\n")
    assert "Installing requirements/trainer.txt" in venv(repository).stderr
    assert venv(repository).stderr == ""


def test_packages_that_cannot_be_had_are_asked_for_again_the_next_time(repository: Path) -> None:
    digest = "0" * 64
    (repository / "requirements/trainer.txt").write_text(f"no-such-package==1.0 --hash=sha256:{digest}\n")
    for _ in range(2):
        failed = venv(repository)
        assert failed.returncode != 0
        assert "no-such-package" in failed.stderr


def test_an_unsupported_python_is_named_with_what_is_accepted(tmp_path: Path) -> None:
    repository = new_repository(tmp_path)
    old = repository / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    refused = venv(repository, python=str(old))
    assert refused.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in refused.stderr
    assert "Python 3.9.2" in refused.stderr
    assert not (repository / ".venv").exists()
