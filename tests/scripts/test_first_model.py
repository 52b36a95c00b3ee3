"""What is published where there is no model yet."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scripts.first_model import check_served
from trainer import server_config

ROOT = Path(__file__).parents[2]


def without_weights() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "WEIGHTS"}


def begun(process: subprocess.Popen[str], command: str) -> bool:
    try:
        return any(command in child.cmdline() for child in psutil.Process(process.pid).children(recursive=True))
    except psutil.Error:  # it ended while it was looked at
        return False


def first_model(models_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.first_model"],
        cwd=ROOT,
        env={**without_weights(), "MODELS_DIR": str(models_dir), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_published_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dog_breed/1").mkdir(parents=True)
    done = first_model(tmp_path, WEIGHTS="/nowhere.h5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["dog_breed"]


def test_a_model_that_the_containers_would_wait_for_in_vain_is_named(tmp_path: Path) -> None:
    (tmp_path / "cats_dogs/1").mkdir(parents=True)
    refused = first_model(tmp_path)
    assert refused.returncode == 1
    (said,) = refused.stderr.splitlines()
    assert "serving/models.config names dog_breed" in said
    assert "the models that are published are cats_dogs" in said


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


def test_given_weights_that_cannot_be_read_are_an_error_and_no_sample_takes_their_place(tmp_path: Path) -> None:
    (tmp_path / "imagenet_class_index.json").write_text("{}")  # so that nothing is fetched
    refused = first_model(tmp_path / "models", WEIGHTS=str(tmp_path / "missing.weights.h5"))
    assert refused.returncode == 1
    assert "trainer imagenet-dogs ended with status" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


def test_without_a_network_the_sample_model_is_begun_at_once_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9") | {"no_proxy": "", "NO_PROXY": ""}
    environment = {**without_weights(), **nothing, "KERAS_HOME": str(tmp_path), "MODELS_DIR": str(tmp_path / "models")}
    command = [sys.executable, "-m", "scripts.first_model"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not begun(process, "sample"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the ImageNet class index cannot be fetched" in said
    assert not (tmp_path / "models").exists()
