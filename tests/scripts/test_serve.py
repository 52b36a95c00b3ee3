"""`scripts/run` past its first line: the real model server and gateway, started and stopped as one program."""

import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from testing import ROOT
from testing.colour_model import publish_colours
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS
from testing.processes import free_port

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    publish_colours(directory)
    return directory


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def serving(models_dir: Path, port: object, caller: Path = ROOT, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.serve", str(caller)],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir), "PORT": str(port), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """Reads until the addresses are printed; returns them by what they are."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    return dict(re.findall(r"^  (page|docs|try) +(.*)$", "".join(lines), re.MULTILINE))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, errors.splitlines()[-1]


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """Returns the process ids of model server and gateway."""
    rows = subprocess.run(["ps", "-eww", "-o", "ppid,pid,args"], capture_output=True, text=True, check=True).stdout
    found = re.findall(rf"^ *{process.pid} +(\d+) .*-m (modelserver|gateway)\b", rows, re.MULTILINE)
    return {name: int(pid) for pid, name in found}


def test_what_it_prints_when_it_is_ready_works_and_ctrl_c_ends_it_cleanly(models_dir: Path) -> None:
    with serving(models_dir, port=0) as process:
        addresses = announced(process)
        assert httpx.get(addresses["docs"], timeout=DEADLINE_SECONDS).status_code == 200

        command = shlex.split(addresses["try"])
        name, file = command[2].split("=@")
        answer = httpx.post(command[3], files={name: photo("green")}, timeout=DEADLINE_SECONDS)
        assert (command[:2], file) == (["curl", "-F"], "dog.jpg")
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["name"] == "dog_breed"
        assert answer.json()["breed"] == "green"

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        assert "Traceback" not in errors
        with pytest.raises(httpx.ConnectError):
            httpx.get(addresses["page"])


def test_a_model_that_cannot_be_loaded_is_named_with_what_to_do_and_the_others_serve(
    models_dir: Path, tmp_path: Path
) -> None:
    models = shutil.copytree(models_dir, tmp_path / "models")
    (models / "flowers" / "1").mkdir(parents=True)
    (models / "flowers" / "1" / "model.keras").write_bytes(b"PK")
    (models / "flat").mkdir()
    (models / "flat" / "saved_model.pb").write_bytes(b"")
    with serving(models, port=0) as process:
        page = announced(process)["page"]
        listed = {one["name"]: one for one in httpx.get(f"{page}api/v1/models").json()["models"]}
        answer = httpx.post(f"{page}api/v1/models/dog_breed/predict", files={"image": photo("green")})
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert answer.json()["label"] == "green"
    assert {name: one["available"] for name, one in listed.items()} == {"dog_breed": True, "flowers": False}
    assert "has no available version" in listed["flowers"]["reason"]
    assert "holds model.keras, which is not a SavedModel" in errors
    assert "trainer publish" in errors
    assert "the model flowers is not ready" in errors
    assert f"move it into {models / 'flat' / '1'}" in errors


def test_when_the_model_server_is_killed_the_gateway_stops_and_the_status_says_so(models_dir: Path, port: int) -> None:
    with serving(models_dir, port) as process:
        announced(process)
        pids = children(process)
        os.kill(pids["modelserver"], signal.SIGKILL)
        assert ended(process) == (1, "scripts/run: modelserver was killed by SIGKILL")
        with pytest.raises(ProcessLookupError):
            os.kill(pids["gateway"], 0)


def test_a_port_in_use_is_said_in_one_line_before_anything_is_built(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        serving(tmp_path / "models", taken.getsockname()[1]) as process,
    ):
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 1
        assert output == ""
        assert errors.splitlines() == [
            f"scripts/run: port {taken.getsockname()[1]} is in use; choose another, such as PORT=8001 scripts/run"
        ]
        assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("wrong", ["65536", "eighty", "-1"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    with serving(tmp_path, wrong) as process:
        status, message = ended(process)
        assert status == 1
        assert repr(wrong) in message
        assert "from 0 to 65535" in message


@pytest.mark.parametrize("setting", ["GATEWAY_DEFAULT_MODEL", "GATEWAY_MODELS"])
def test_a_model_that_is_not_there_is_said_before_anything_is_started(models_dir: Path, setting: str) -> None:
    with serving(models_dir, 0, ROOT, **{setting: "nix"}) as process:
        assert ended(process) == (1, f"scripts/run: {models_dir} has no model 'nix'; its models are dog_breed")


def test_a_model_server_of_the_callers_own_is_refused_in_one_line_before_anything_is_installed(tmp_path: Path) -> None:
    refused = subprocess.run(
        [ROOT / "scripts" / "run"],
        cwd=tmp_path,
        env={**os.environ, "GATEWAY_SERVING_TARGET": "serving:8500"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    [message] = refused.stderr.splitlines()
    assert message.endswith("scripts/venv gateway && .venv/bin/python -m gateway")


def test_paths_in_the_gateways_settings_are_relative_to_the_caller(models_dir: Path, port: int, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(hashlib.sha256(b"secret").hexdigest())
    (tmp_path / "json.py").write_text("raise AssertionError('imported from the folder of the caller')")
    with serving(models_dir, port, tmp_path, GATEWAY_API_KEYS_FILE="keys.txt", GATEWAY_WORKERS="2") as process:
        models = f"{announced(process)['page']}api/v1/models"
        assert httpx.get(models, timeout=DEADLINE_SECONDS).status_code == 401
        key = {"X-API-Key": "secret"}
        assert httpx.get(models, headers=key, timeout=DEADLINE_SECONDS).status_code == 200


def test_every_model_in_the_folder_is_served_and_the_configured_labels_stay(models_dir: Path, port: int) -> None:
    other = models_dir / "other"
    other.symlink_to(models_dir / "dog_breed")
    config = models_dir / "models.config"
    config.write_text(
        """model_config_list {
             config { name: "gone" base_path: "/gone" model_platform: "tensorflow" }
             config {
               name: "other" base_path: "/elsewhere" model_platform: "tensorflow"
               model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 }
             }
           }"""
    )
    try:
        with serving(models_dir, port) as process:
            page = announced(process)["page"]
            models = httpx.get(f"{page}api/v1/models", timeout=DEADLINE_SECONDS).json()["models"]
            names = [model["name"] for model in models]
            assert sorted(names) == ["dog_breed", "other"]
            url = f"{page}api/v1/models/other/predict?version_label=stable"
            answer = httpx.post(url, files={"image": photo("red")}, timeout=DEADLINE_SECONDS)
            assert answer.status_code == 200, answer.text
    finally:
        other.unlink()
        config.unlink()
