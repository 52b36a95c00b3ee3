"""The labels of a model server that polls its configuration."""

import argparse
import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.trainer.registry.drafts import hidden, put
from trainer.cli import main
from trainer.errors import TrainerError
from trainer.registry import promote, publish, server_config, versions
from trainer.registry.publish import published_versions


class PollingServer(
    model_service_pb2_grpc.ModelServiceServicer,  # type: ignore[misc]  # has no types
    prediction_service_pb2_grpc.PredictionServiceServicer,  # type: ignore[misc]
):
    """A model server's view of a configuration: it loads what the file asks for, unless the version is broken."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.broken: dict[int, str] = {}
        self.loaded_before_label: list[tuple[str, int]] = []
        self.failing: dict[int, str] = {}
        self.scores = 3

    def GetModelStatus(  # noqa: N802 - the method's name on the wire
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        entry = server_config.find(server_config.read(self.config), request.model_spec.name)
        version = request.model_spec.version.value
        answer = get_model_status_pb2.GetModelStatusResponse()
        if entry is None or version not in entry.model_version_policy.specific.versions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find version {version}")
            raise AssertionError
        if version in self.broken:
            status = answer.model_version_status.add(version=version, state="END")
            status.status.error_code = 5
            status.status.error_message = self.broken[version]
        else:
            answer.model_version_status.add(version=version, state="AVAILABLE")
            self.loaded_before_label += [
                (label, version) for label in ("stable",) if entry.version_labels.get(label) != version
            ]
        return answer

    def GetModelMetadata(  # noqa: N802 - the method's name on the wire
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        entry = server_config.find(server_config.read(self.config), request.model_spec.name)
        label = request.model_spec.version_label
        if request.model_spec.HasField("version"):
            return described(request.model_spec.version.value)
        if entry is None or label not in entry.version_labels:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
            raise AssertionError
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.version.value = entry.version_labels[label]
        return answer

    def Predict(  # noqa: N802 - the method's name on the wire
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        version = request.model_spec.version.value
        if version in self.failing:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.failing[version])
            raise AssertionError
        answer = predict_pb2.PredictResponse()
        if request.model_spec.signature_name == "describe":
            card = json.dumps({"labels": ["a", "b", "c"]}).encode()
            answer.outputs["card"].CopyFrom(tf.make_tensor_proto([card]))
        else:
            assert tf.make_ndarray(request.inputs["images"]).shape == (1, 4, 6, 3)
            answer.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(np.ones((1, self.scores), np.float32)))
        return answer


def described(version: int) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a model of the contract."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, side, name, dtype, sizes in (
        ("pixels", "inputs", "images", tf.uint8, (-1, 4, 6, 3)),
        ("pixels", "outputs", "probabilities", tf.float32, (-1, 3)),
        ("describe", "inputs", "request", tf.int32, (-1,)),
        ("describe", "outputs", "card", tf.string, (-1,)),
    ):
        info = getattr(signatures.signature_def[key], side)[name]
        info.dtype = dtype.as_datatype_enum
        for size in sizes:
            info.tensor_shape.dim.add(size=size)
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.version.value = version
    answer.metadata["signature_def"].Pack(signatures)
    return answer


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "models.config"


@pytest.fixture
def server(config: Path) -> Iterator[tuple[PollingServer, str]]:
    servicer = PollingServer(config)
    grpc_server = grpc.server(futures.ThreadPoolExecutor(2))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, grpc_server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    yield servicer, f"127.0.0.1:{port}"
    grpc_server.stop(grace=None).wait()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    for _ in range(3):
        put(directory)
    return directory


def labels(config: Path, name: str = "dogs") -> dict[str, int]:
    entry = server_config.find(server_config.read(config), name)
    return dict(entry.version_labels) if entry else {}


def served(config: Path, name: str = "dogs") -> list[int]:
    entry = server_config.find(server_config.read(config), name)
    return list(entry.model_version_policy.specific.versions) if entry else []


def move(server: str, config: Path, models: Path, version: int, label: str = "stable", seconds: float = 30) -> None:
    promote.promote("dogs", version, label, config=config, models_dir=models, server=server, timeout_seconds=seconds)


def test_a_label_moves_once_the_server_has_the_version(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    move(target, config, models, 2)
    assert labels(config) == {"stable": 2, "stable-previous": 1}
    assert served(config) == [1, 2]
    assert ("stable", 2) in servicer.loaded_before_label
    entry = server_config.find(server_config.read(config), "dogs")
    assert entry is not None
    assert entry.base_path == "/models/dogs"


def test_no_label_moves_to_a_version_that_loads_and_fails_every_call(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    servicer.failing[2] = "Could not find variable dense/kernel\n\t [[{{node x}}]]"
    with pytest.raises(TrainerError, match=r"no label was moved: .* Could not find variable dense/kernel \(signature"):
        move(target, config, models, 2)
    assert labels(config) == {"stable": 1}
    assert served(config) == [1]
    del servicer.failing[2]
    servicer.scores = 4
    with pytest.raises(TrainerError, match="returns 4 scores, but its model card has 3 labels"):
        move(target, config, models, 2)
    assert labels(config) == {"stable": 1}


def test_labels_and_models_stand_side_by_side(server: tuple[PollingServer, str], config: Path, models: Path) -> None:
    put(models, "cats")
    move(server[1], config, models, 1)
    move(server[1], config, models, 3, "canary")
    promote.promote("cats", 1, "stable", config=config, models_dir=models, server=server[1], timeout_seconds=30)
    assert labels(config) == {"stable": 1, "canary": 3}
    assert labels(config, "cats") == {"stable": 1}
    assert served(config) == [1, 3]


def test_a_version_that_does_not_load_moves_no_label(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    before = config.read_text()
    servicer.broken[2] = "Op type not registered"
    with pytest.raises(TrainerError, match="Op type not registered"):
        move(target, config, models, 2)
    assert config.read_text() == before


def test_a_first_promotion_that_fails_leaves_no_entry(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    server[0].broken[1] = "no"
    with pytest.raises(TrainerError):
        move(server[1], config, models, 1)
    assert server_config.find(server_config.read(config), "dogs") is None


def test_a_server_that_is_not_there_is_named_and_nothing_changes(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match=r"no answer from a model server at 127\.0\.0\.1:1:"):
        move("127.0.0.1:1", config, models, 1, seconds=0.5)
    assert not config.exists()


def test_a_version_that_is_not_published_is_refused(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match="has no version 7; versions: 1, 2, 3"):
        move("127.0.0.1:1", config, models, 7)


def test_rollback_goes_back_once_and_drops_the_bad_version(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    move(server[1], config, models, 1)
    move(server[1], config, models, 2)
    assert promote.rollback("dogs", "stable", config=config, server=server[1], timeout_seconds=30) == 1
    assert labels(config) == {"stable": 1}
    assert served(config) == [1]
    with pytest.raises(TrainerError, match="has no previous version of label"):
        promote.rollback("dogs", "stable", config=config, server=server[1], timeout_seconds=30)


def test_promoting_the_version_that_a_label_names_keeps_the_way_back(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    for version in (1, 2, 2):
        move(server[1], config, models, version)
    assert labels(config) == {"stable": 2, "stable-previous": 1}


def test_prune_keeps_the_newest_and_every_version_that_a_label_names(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    for _ in range(4):
        put(models)
    for version in (2, 3):
        move(server[1], config, models, version)
    assert versions.prune(models, "dogs", keep=2, config=config) == [1, 4, 5]
    assert published_versions(models, "dogs") == [2, 3, 6, 7]
    assert hidden(models / "dogs") == []


def test_prune_without_the_file_that_holds_the_labels_removes_nothing(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match="the labelled versions are unknown"):
        versions.prune(models, "dogs", keep=1, config=config)
    assert published_versions(models, "dogs") == [1, 2, 3]


def test_editing_keeps_the_comment_at_the_top_and_a_policy_of_all(config: Path) -> None:
    config.parent.mkdir()
    config.write_text(
        "# What the server loads.\n\nmodel_config_list { config { name: 'dogs' base_path: '/elsewhere' "
        "model_platform: 'tensorflow' model_version_policy { all {} } } }\n"
    )
    with server_config.edit(config) as edited:
        server_config.move_label(server_config.find_or_add(edited, "dogs"), "stable", 4)
    assert config.read_text().startswith("# What the server loads.\n")
    entry = server_config.find(server_config.read(config), "dogs")
    assert entry is not None
    assert entry.model_version_policy.HasField("all")
    assert entry.base_path == "/elsewhere"
    assert labels(config) == {"stable": 4}


def test_a_damaged_configuration_is_said_to_be_damaged_and_not_replaced(config: Path, models: Path) -> None:
    config.parent.mkdir()
    config.write_text("model_config_list {")
    with pytest.raises(TrainerError, match="not a model server configuration"):
        move("127.0.0.1:1", config, models, 1, seconds=0.5)
    assert config.read_text() == "model_config_list {"


def test_list_shows_versions_and_what_labels_name_them(
    server: tuple[PollingServer, str], config: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move(server[1], config, models, 2)
    parser = argparse.ArgumentParser()
    versions.add_list_arguments(parser)
    assert versions.run_list(parser.parse_args(["--models-dir", str(models), "--config", str(config)])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [line.endswith("stable") for line in lines] == [False, True, False]


def test_promote_and_rollback_say_who_gets_the_version(
    server: tuple[PollingServer, str], config: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move(server[1], config, models, 2)
    places = ("--models-dir", str(models), "--config", str(config), "--server", server[1])
    for command, last in (("promote", ("dogs", "1")), ("rollback", ("dogs",))):
        assert main([command, *last, *places]) == 0
        [_, who] = capsys.readouterr().out.splitlines()
        assert who.startswith("requests without a label get the newest loaded version")
        assert who.endswith("GATEWAY_TRAFFIC_SPLIT='" + '{"dogs": "stable=1"}' + "'")


@pytest.mark.parametrize("label", ["stable-previous", "", "a b", "../x"])
def test_a_label_that_cannot_be_set_is_refused(label: str) -> None:
    with pytest.raises(TrainerError):
        promote.check_label(label)


def test_labels_are_looked_for_where_scripts_run_keeps_them(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    publish.add_models_dir(parser)
    server_config.add_config(parser)
    args = parser.parse_args(["--models-dir", str(tmp_path)])
    assert server_config.config_path(args) == Path("serving/models.config")
    own = tmp_path / "models.config"
    own.touch()
    assert server_config.config_path(args) == own
    assert server_config.config_path(parser.parse_args(["--config", "other"])) == Path("other")
