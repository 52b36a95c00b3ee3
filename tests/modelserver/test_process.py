"""The process: its flags, when it opens its port, what it prints, how it ends."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelserver import flags
from testing import ROOT
from testing.modelserver import Server, request
from testing.polling import DEADLINE_SECONDS, until
from tests.modelserver.conftest import Publish, publish_broken

Serve = Callable[..., Server]


def test_flags_are_read_in_both_forms() -> None:
    read = flags.parse(["--port=1", "--model_base_path", "m", "--enable_batching", "--enable_model_warmup=false"])
    assert (read.port, read.model_base_path, read.enable_batching, read.enable_model_warmup) == (
        1,
        Path("m"),
        True,
        False,
    )


def test_channel_arguments_are_numbers_where_they_can_be() -> None:
    read = flags.parse(["--model_base_path=m", "--grpc_channel_arguments=grpc.max_connection_age_ms=30000,a=b"])
    assert read.grpc_channel_arguments == (("grpc.max_connection_age_ms", 30000), ("a", "b"))


def test_flags_of_the_real_server_without_a_meaning_here_are_accepted() -> None:
    arguments = ["--rest_api_port=8501", "--rest_api_timeout_in_ms", "30000", "--per_process_gpu_memory_fraction=0.5"]
    read = flags.parse(["--model_base_path=m", *arguments, "--monitoring_config_file=f"])
    assert set(read.ignored) == {
        "rest_api_port",
        "rest_api_timeout_in_ms",
        "per_process_gpu_memory_fraction",
        "monitoring_config_file",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_base_path=m", "--no_such_flag=1"], "no_such_flag"),
        (["--model_base_path=m", "--enable_batching=perhaps"], "expected true or false, not 'perhaps'"),
        (["--model_base_path=m", "--max_num_load_retries=-1"], "expected a whole number of at least 0"),
        ([], "exactly one of --model_base_path and --model_config_file"),
        (
            ["--model_base_path=m", "--batching_parameters_file=f"],
            "--batching_parameters_file requires --enable_batching",
        ),
    ],
)
def test_a_wrong_command_line_ends_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_port_stays_closed_until_there_is_a_model_and_sigterm_finishes_what_is_in_flight(
    serve: Serve, publish: Publish, tmp_path: Path
) -> None:
    base, address = tmp_path / "models" / "demo", tmp_path / "socket"
    server = serve(
        *(f"--model_base_path={base}", "--model_name=demo", "--rest_api_port=8501", f"--grpc_socket_path={address}"),
        f"--drain_seconds={DEADLINE_SECONDS:.0f}",
    )
    until(lambda: f"cannot read {base}" in server.output)
    assert not server.is_open()
    publish(base, 1)
    client = server.client
    with grpc.insecure_channel(f"unix:{address}") as channel:
        grpc.channel_ready_future(channel).result(DEADLINE_SECONDS)
    call = client.prediction.Predict.future(
        request("demo", "wait", {"folder": np.array([str(tmp_path)], object)}), timeout=DEADLINE_SECONDS
    )
    until((tmp_path / "begun").exists, "the call is in flight")
    server.send(signal.SIGTERM)
    until(lambda: "stopping" in server.output)
    assert not call.done()
    (tmp_path / "over").touch()
    assert server.wait() == 0
    assert call.code() is grpc.StatusCode.OK
    assert [line.split(" ", 1)[1] for line in server.output.splitlines()] == [
        "WARNING --rest_api_port has no effect on this server",
        f"WARNING model demo: cannot read {base} (No such file or directory), waiting",
        f"INFO loading model demo version 1 from {base / '1'}",
        "INFO available: model demo version 1, on TensorFlow",
        next(line for line in server.output.splitlines() if "listening on" in line).split(" ", 1)[1],
        "INFO stopping: no new requests, up to 120 s for those in flight",
        "INFO stopped",
    ]


def test_a_lone_broken_version_ends_the_server_and_an_interrupt_ends_one_that_waits(
    serve: Serve, tmp_path: Path
) -> None:
    publish_broken(tmp_path / "demo", 1)
    broken = serve(f"--model_base_path={tmp_path / 'demo'}", "--max_num_load_retries=1")
    waiting = serve(f"--model_base_path={tmp_path / 'nothing'}")
    assert broken.wait() == 1
    assert "failed to load (try 2 of 2)" in broken.output
    assert "model default cannot be loaded" in broken.output
    until(lambda: "waiting" in waiting.output)
    assert waiting.stop(signal.SIGINT) == 0
    assert "Traceback" not in waiting.output + broken.output


def test_a_model_that_cannot_be_loaded_is_named_with_what_to_do_and_the_others_serve(
    serve: Serve, publish_light: Publish, tmp_path: Path
) -> None:
    publish_light(tmp_path / "demo", 1)
    publish_light(tmp_path / "flat", 1)
    shutil.copytree(tmp_path / "flat" / "1", tmp_path / "deep" / "1" / "model")
    shutil.move(tmp_path / "flat" / "1" / "saved_model.pb", tmp_path / "flat")
    shutil.rmtree(tmp_path / "flat" / "1")
    (tmp_path / "keras" / "1").mkdir(parents=True)
    (tmp_path / "keras" / "1" / "model.keras").write_bytes(b"PK")
    (tmp_path / "vision" / "1").mkdir(parents=True)
    (tmp_path / "vision" / "1" / "model.pb").write_bytes(b"\n\4")
    publish_broken(tmp_path / "broken", 1)
    publish_light(tmp_path / "named", 1).rename(tmp_path / "named" / "v1")

    def config(*names: str) -> Path:
        path = tmp_path / f"{'_'.join(names)}.config"
        entries = "".join(f'config {{ name: "{name}" base_path: "{tmp_path / name}" }}' for name in names)
        path.write_text(f"model_config_list {{ {entries} }}")
        return path

    names = ("demo", "keras", "vision", "deep", "broken", "flat", "named")
    server = serve(f"--model_config_file={config(*names)}", "--load_retry_interval_micros=600000000")
    assert server.client.version_that_answers("demo") == 1
    assert server.client.states("keras") == {1: "LOADING"}
    assert "model keras cannot be served; the other models are served:" in server.output
    keras = tmp_path / "keras" / "1" / "model.keras"
    assert f"holds model.keras, which is not a SavedModel: use breed publish {keras} --name NAME" in server.output
    assert "model.pb, which is not a SavedModel: export it as a SavedModel, a folder with" in server.output
    assert f"one folder too deep: move what is in {tmp_path / 'deep' / '1' / 'model'} to" in server.output
    assert "model broken cannot be served; the other models are served:" in server.output
    assert f"{tmp_path / 'named' / 'v1'} holds a SavedModel, but the folder of a version has a number" in server.output
    assert f"move it into {tmp_path / 'flat' / '1'}, a folder for its version, waiting" in server.output
    waiting = serve(f"--model_config_file={config('flat')}")
    until(lambda: f"move it into {tmp_path / 'flat' / '1'}, a folder for its version, waiting" in waiting.output)


def test_a_base_path_that_is_the_folder_of_a_version_is_told_so(
    serve: Serve, publish_light: Publish, tmp_path: Path
) -> None:
    version = publish_light(tmp_path / "demo", 1)
    server = serve(f"--model_base_path={version}")
    until(lambda: f"{version} is the folder of a version: use {tmp_path / 'demo'}, waiting" in server.output)


def test_a_configuration_without_models_is_waited_for_until_it_has_some(
    serve: Serve, publish_light: Publish, tmp_path: Path
) -> None:
    publish_light(tmp_path / "demo", 1)
    config = tmp_path / "models.config"
    config.write_text("model_config_list {}")
    server = serve(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.05")
    until(lambda: f"{config} lists no model, waiting" in server.output)
    config.write_text(f'model_config_list {{ config {{ name: "demo" base_path: "{tmp_path / "demo"}" }} }}')
    assert server.client.version_that_answers("demo") == 1


def test_folders_with_leading_zeros_are_versions(serve: Serve, publish_light: Publish, tmp_path: Path) -> None:
    base = tmp_path / "demo"
    publish_light(base, 2).rename(base / "0002")
    server = serve(f"--model_base_path={base}", "--model_name=demo")
    assert server.client.version_that_answers("demo") == 2
    assert server.client.states("demo") == {2: "AVAILABLE"}
    shutil.copytree(base / "0002", base / ".hidden").rename(base / "00003")
    until(lambda: server.client.states("demo") == {3: "AVAILABLE", 2: "END"})


def test_what_cannot_be_served_is_said_in_one_line_with_status_1(
    publish_light: Publish, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    base = tmp_path / "demo"
    publish_light(base, 1)
    labels = tmp_path / "labels.config"
    labels.write_text(
        f'model_config_list {{ config {{ name: "demo" base_path: "{base}" version_labels {{ key: "a" value: 1 }} }} }}'
    )
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    empty = tmp_path / "empty.config"
    empty.write_text("model_config_list {}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            f"cannot listen on 127.0.0.1 port {port}": (f"--model_base_path={base}", f"--port={port}"),
            "which is not currently available": (f"--model_config_file={labels}",),
            "allowed_batch_sizes must rise and end with max_batch_size (8), not [4]": (
                f"--model_base_path={base}",
                "--enable_batching",
                f"--batching_parameters_file={batching}",
            ),
            f"{empty} lists no model": (f"--model_config_file={empty}",),
            "nothing.config": (f"--model_config_file={tmp_path / 'nothing.config'}",),
        }
        command = [sys.executable, "-m", "modelserver", "--host=127.0.0.1", "--port=0"]
        running = {
            message: subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            for message, arguments in cases.items()
        }
        for message, process in running.items():
            _, printed = process.communicate(timeout=DEADLINE_SECONDS)
            with subtests.test(message):
                assert process.returncode == 1
                assert message in printed
                assert len(printed.splitlines()) == 1
