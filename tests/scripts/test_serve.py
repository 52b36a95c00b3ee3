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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from scripts import serve
from scripts.supervise import Program, ProgramEnded
from testing import ROOT
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import free_port

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory, colour_model: Path) -> Path:
    directory = tmp_path_factory.mktemp("models")
    shutil.copytree(colour_model, directory / "dog_breed" / "1")
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
    else:
        pytest.fail(f"it ended before it was ready:\n{process.communicate(timeout=DEADLINE_SECONDS)[1]}")
    return dict(re.findall(r"^  (page|docs|try) +(.*)$", "".join(lines), re.MULTILINE))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, errors.splitlines()[-1]


def test_what_it_prints_when_it_is_ready_works_and_ctrl_c_ends_it_cleanly(models_dir: Path, port: int) -> None:
    with serving(models_dir, port) as process:
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


def test_every_model_that_loads_is_served_with_its_labels_and_the_others_are_named_with_what_to_do(
    models_dir: Path, port: int, tmp_path: Path
) -> None:
    models = shutil.copytree(models_dir, tmp_path / "models")
    (models / "other").symlink_to(models / "dog_breed")
    (models / "models.config").write_text(
        """model_config_list {
             config { name: "gone" base_path: "/gone" model_platform: "tensorflow" }
             config {
               name: "other" base_path: "/elsewhere" model_platform: "tensorflow"
               model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 }
             }
           }"""
    )
    (models / "flowers" / "1").mkdir(parents=True)
    (models / "flowers" / "1" / "model.keras").write_bytes(b"PK")
    (models / "flat").mkdir()
    (models / "flat" / "saved_model.pb").write_bytes(b"")
    (models / "named" / "v1").mkdir(parents=True)
    (models / "named" / "v1" / "saved_model.pb").write_bytes(b"")
    (models / "cars").mkdir()
    (models / "cars" / "cars.keras").write_bytes(b"PK")
    with serving(models, port) as process:
        api = f"{announced(process)['page']}api/v1/models"

        def models_of_the_gateway() -> dict[str, dict[str, object]]:
            return {one["name"]: one for one in httpx.get(api, timeout=DEADLINE_SECONDS).json()["models"]}

        # The addresses are printed although some models cannot answer yet.
        until(lambda: models_of_the_gateway()["other"]["available"], "the linked model is available")
        listed = models_of_the_gateway()
        labelled = f"{api}/other/predict?version_label=stable"
        answer = httpx.post(labelled, files={"image": photo("green")}, timeout=DEADLINE_SECONDS)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert answer.json()["label"] == "green"
    available = {name: one["available"] for name, one in listed.items()}
    assert available == {"dog_breed": True, "other": True, "flowers": False}
    assert "has no available version" in str(listed["flowers"]["reason"])
    assert "holds model.keras, which is not a SavedModel" in errors
    assert "breed publish" in errors
    assert "the model flowers is not ready" in errors
    assert f"move it into {models / 'flat' / '1'}" in errors
    assert "the folder of a version has a number as its name: rename it to 1" in errors
    assert f"use breed publish {models / 'cars' / 'cars.keras'} --name NAME" in errors


def test_the_model_server_gets_no_port_of_the_gateway() -> None:
    first = serve._serving_port(of_gateway={None})
    assert serve._serving_port(of_gateway={None, str(first)}) > first


def test_another_port_is_chosen_if_somebody_takes_that_of_the_model_server_first(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    async def supervise_late(programs: Sequence[Program], **_: object) -> None:
        [port] = [int(one.removeprefix("--port=")) for one in programs[0].command if one.startswith("--port=")]
        ports.append(port)
        if len(ports) == 1:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
            raise ProgramEnded(programs[0], 1)

    monkeypatch.setattr(serve, "supervise", supervise_late)
    monkeypatch.setenv("MODELS_DIR", str(models_dir))
    monkeypatch.setenv("PORT", "0")
    with ExitStack() as stack:
        assert serve.main(ROOT) == 0
    assert ports[1] > ports[0]


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
