"""Versions that come, go and fail while clients are served, by both engines."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_management_pb2, predict_pb2, prediction_log_pb2

from testing.modelserver import Client, Server, request
from testing.polling import until
from tests.modelserver.conftest import Publish, publish_broken, publisher

Serve = Callable[..., Server]


@pytest.fixture(scope="module", params=["tensorflow", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def publish(engine: str, request: pytest.FixtureRequest) -> Publish:
    return publisher(request.getfixturevalue("built" if engine == "tensorflow" else "built_for_openvino"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, engine: str, publish: Publish) -> Iterator[tuple[Server, Path]]:
    """One server on a configuration that tests rewrite; each uses a model name of its own."""
    folder = tmp_path_factory.mktemp("shared")
    publish(folder / "first", 1)
    config = folder / "models.config"
    write(config)
    server = Server(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.05",
        "--file_system_poll_wait_seconds=0.05",
        "--load_retry_interval_micros=50000",
        "--max_num_load_retries=2",
        "--enable_batching",
        f"--engine={engine}",
    )
    assert server.client.version_that_answers("first") == 1
    yield server, config
    server.close()


def entry(base: Path, policy: str = "", labels: dict[str, int] | None = None) -> str:
    version_labels = "".join(
        f'version_labels {{ key: "{label}" value: {number} }} ' for label, number in (labels or {}).items()
    )
    policy = f"model_version_policy {{ {policy} }}" if policy else ""
    return f'config {{ name: "{base.name}" base_path: "{base}" {policy} {version_labels} }}\n'


def write(config: Path, *entries: str) -> None:
    """Replaces the configuration at once, with the first model always in it."""
    new = config.with_suffix(".new")
    new.write_text("model_config_list {\n" + entry(config.parent / "first") + "".join(entries) + "}\n")
    new.rename(config)


def wait_for_states(client: Client, name: str, states: dict[int, str]) -> None:
    until(lambda: client.states(name) == states, f"never {states}")


def first_version(shared: tuple[Server, Path], publish: Publish, name: str) -> Path:
    """Version 1 of a model that the server serves; returns its base path."""
    server, config = shared
    base = config.parent / name
    publish(base, 1)
    write(config, entry(base))
    wait_for_states(server.client, name, {1: "AVAILABLE"})
    return base


def test_a_switch_under_load_fails_no_request_and_the_old_version_ends(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, _ = shared
    base = first_version(shared, publish, "switch")
    stop, versions, errors = threading.Event(), set[int](), list[Exception]()

    def ask() -> None:
        while not stop.is_set():
            try:
                versions.add(server.client.version_that_answers("switch"))
            except Exception as error:
                errors.append(error)
                return

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: 1 in versions or errors)
    for version in (2, 3):
        publish(base, version)
        until(partial(lambda number: number in versions or errors, version))
    stop.set()
    for caller in callers:
        caller.join()
    assert errors == []
    assert versions == {1, 2, 3}
    wait_for_states(server.client, "switch", {3: "AVAILABLE", 2: "END", 1: "END"})


def test_deleting_the_newest_brings_the_previous_back_and_deleting_all_is_not_found(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, config = shared
    base = config.parent / "deleted"
    publish(base, 1)
    publish(base, 2)
    write(config, entry(base))
    wait_for_states(server.client, "deleted", {2: "AVAILABLE"})
    shutil.rmtree(base / "2")
    wait_for_states(server.client, "deleted", {2: "END", 1: "AVAILABLE"})
    assert server.client.version_that_answers("deleted") == 1
    shutil.rmtree(base / "1")
    wait_for_states(server.client, "deleted", {2: "END", 1: "END"})
    with pytest.raises(grpc.RpcError, match=r"Latest\(deleted\)"):
        server.client.version_that_answers("deleted")
    publish(base, 2)
    wait_for_states(server.client, "deleted", {2: "AVAILABLE", 1: "END"})


def test_a_base_path_that_cannot_be_read_takes_nothing_down(shared: tuple[Server, Path], publish: Publish) -> None:
    server, _ = shared
    base = first_version(shared, publish, "moved")
    base.rename(base.with_name("elsewhere"))
    until(lambda: f"cannot read {base}" in server.output)
    assert server.client.version_that_answers("moved") == 1


def test_a_broken_version_takes_nothing_down_and_holds_up_no_newer_one(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, _ = shared
    base = first_version(shared, publish, "broken")
    publish_broken(base, 2)
    wait_for_states(server.client, "broken", {2: "END", 1: "AVAILABLE"})
    status = server.client.status("broken", 2).model_version_status[0].status
    assert status.error_code != 0
    assert "saved_model.pb" in status.error_message
    assert server.client.version_that_answers("broken") == 1
    publish(base, 3)
    wait_for_states(server.client, "broken", {3: "AVAILABLE", 2: "END", 1: "END"})


def test_a_version_published_again_gets_a_new_chance(shared: tuple[Server, Path], publish: Publish) -> None:
    server, config = shared
    base = config.parent / "again"
    publish(base, 1)
    publish_broken(base, 2)
    write(config, entry(base))
    wait_for_states(server.client, "again", {2: "END", 1: "AVAILABLE"})
    shutil.rmtree(base / "2")
    # The folders are read again for a new model, which is then said to be missing.
    write(config, entry(base), entry(config.parent / "missing"))
    until(lambda: f"cannot read {config.parent / 'missing'}" in server.output)
    publish(base, 2)
    wait_for_states(server.client, "again", {2: "AVAILABLE", 1: "END"})


def test_policies_choose_versions(shared: tuple[Server, Path], publish: Publish) -> None:
    server, config = shared
    base = config.parent / "policy"
    for version in (1, 2, 3):
        publish(base, version)
    (base / "notes").mkdir()
    (base / "4b").mkdir()
    write(config, entry(base, "latest { num_versions: 2 }"))
    wait_for_states(server.client, "policy", {3: "AVAILABLE", 2: "AVAILABLE"})
    write(config, entry(base, "specific { versions: 1 }"))
    wait_for_states(server.client, "policy", {3: "END", 2: "END", 1: "AVAILABLE"})
    write(config, entry(base, "all {}"))
    wait_for_states(server.client, "policy", dict.fromkeys((3, 2, 1), "AVAILABLE"))


def test_a_label_may_only_name_an_available_version_and_moves_with_the_configuration(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, config = shared
    base = config.parent / "labels"
    publish(base, 1)
    publish(base, 2)
    write(config, entry(base, "all {}"))
    wait_for_states(server.client, "labels", dict.fromkeys((2, 1), "AVAILABLE"))
    write(config, entry(base, "all {}", {"stable": 1, "canary": 2}))
    until(lambda: "canary" not in refusal(server.client, "labels", "canary"))
    assert server.client.version_that_answers("labels", label="stable") == 1
    assert server.client.version_that_answers("labels", label="canary") == 2
    write(config, entry(base, "all {}", {"stable": 3}))
    until(lambda: "Request to assign label stable to version 3 of model labels" in server.output)
    assert server.client.version_that_answers("labels", label="stable") == 1
    publish(base, 3)
    until(lambda: server.client.version_that_answers("labels", label="stable") == 3)
    assert "Unrecognized servable version label: canary" in refusal(server.client, "labels", "canary")


def refusal(client: Client, name: str, label: str) -> str:
    try:
        client.version_that_answers(name, label=label)
    except grpc.RpcError as error:
        return str(error.details())
    return ""


def test_a_configuration_that_cannot_be_read_is_said_once_and_changes_nothing(shared: tuple[Server, Path]) -> None:
    server, config = shared
    write(config, "this is no configuration")
    until(lambda: "not a ModelServerConfig in text format" in server.output)
    assert server.client.version_that_answers("first") == 1
    write(config)


def test_a_configuration_that_is_emptied_before_it_is_written_unloads_nothing(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, config = shared
    base = first_version(shared, publish, "emptied")
    config.write_text("")
    until(lambda: f"{config} is not valid; the old configuration stays: it lists no model" in server.output)
    assert server.client.states("emptied") == {1: "AVAILABLE"}
    write(config, entry(base))


def test_a_model_that_left_the_configuration_is_unloaded(shared: tuple[Server, Path], publish: Publish) -> None:
    server, config = shared
    first_version(shared, publish, "left")
    write(config)
    wait_for_states(server.client, "left", {1: "END"})
    assert server.client.version_that_answers("first") == 1


def test_a_configuration_by_grpc_is_applied_when_the_answer_comes(
    shared: tuple[Server, Path], publish: Publish
) -> None:
    server, config = shared
    first_version(shared, publish, "by_file")  # the file is applied by now, so it cannot replace what follows
    publish(config.parent / "by_grpc", 1)
    message = model_management_pb2.ReloadConfigRequest()
    for name in ("first", "by_grpc"):
        added = message.config.model_config_list.config.add()
        added.name = name
        added.base_path = str(config.parent / name)
    assert server.client.reload(message).status.error_code == 0
    assert server.client.states("by_grpc") == {1: "AVAILABLE"}, server.output
    assert server.client.version_that_answers("by_grpc") == 1
    with pytest.raises(grpc.RpcError, match="lists no model"):
        server.client.reload(model_management_pb2.ReloadConfigRequest())


def warm_up_records(version: Path, *messages: predict_pb2.PredictRequest) -> None:
    folder = version / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for message in messages:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(message)
            writer.write(log.SerializeToString())


def test_warm_up_records_are_replayed_and_a_bad_one_fails_the_version(
    shared: tuple[Server, Path], publish: Publish, tmp_path: Path
) -> None:
    server, config = shared
    base = config.parent / "warm"
    good = request("warm", "describe", {"request": np.zeros(1, np.int32)})
    bad = request("warm", "describe", {"request": np.zeros((1, 1), np.int32)})
    warm_up_records(publish(tmp_path, 1), good, good)
    warm_up_records(publish(tmp_path, 2), bad, good)
    base.mkdir()
    (tmp_path / "1").rename(base / "1")
    write(config, entry(base))
    wait_for_states(server.client, "warm", {1: "AVAILABLE"})
    assert "model warm: 2 warm-up requests in" in server.output
    (tmp_path / "2").rename(base / "2")
    wait_for_states(server.client, "warm", {2: "END", 1: "AVAILABLE"})
    assert "must have rank 1" in server.client.status("warm", 2).model_version_status[0].status.error_message
