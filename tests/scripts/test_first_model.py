"""What is published where there is no model yet."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts.first_model import check_served
from testing import ROOT
from testing.polling import DEADLINE_SECONDS, until
from trainer.registry import server_config


def begun(process: subprocess.Popen[str], command: str) -> bool:
    try:
        return any(command in child.cmdline() for child in psutil.Process(process.pid).children(recursive=True))
    except psutil.Error:  # it ended while it was looked at
        return False


def first_model(models_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.first_model"],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir), **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def test_a_published_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dog_breed/1").mkdir(parents=True)
    done = first_model(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["dog_breed"]


def test_a_model_that_the_containers_would_wait_for_in_vain_is_named(tmp_path: Path) -> None:
    (tmp_path / "cats_dogs/1").mkdir(parents=True)
    refused = first_model(tmp_path)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "serving/models.config lists dog_breed" in line
    assert "The published models are cats_dogs" in line


@pytest.mark.parametrize("version", ["breeds.v2/1", "dog_breed/0", f"{'long' * 20}/0007"])
def test_whatever_a_server_would_find_counts_as_there(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / version).mkdir(parents=True)
    name = version.split("/")[0]
    config = f'model_config_list {{ config {{ name: "x" base_path: "/models/{name}" model_platform: "tensorflow" }} }}'
    (tmp_path / "models.config").write_text(config)
    monkeypatch.setattr(server_config, "SHARED_CONFIG", tmp_path / "models.config")
    check_served(tmp_path / "models")


def test_what_the_trainer_says_when_it_fails_is_shown_and_the_status_is_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = first_model(tmp_path / "file" / "models")
    assert refused.returncode == 1
    [message] = [line for line in refused.stderr.splitlines() if line.startswith("breed imagenet-dogs: ")]
    assert str(tmp_path / "file") in message
    assert "Traceback" not in refused.stderr


def test_a_stop_while_the_first_model_is_made_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELS_DIR": str(tmp_path / "models")}
    command = [sys.executable, "-m", "scripts.first_model"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: begun(process, "imagenet-dogs") or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert not list((tmp_path / "models").rglob("*.pb"))
