"""A model server that polls its configuration, and what the configuration says."""

import json
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trainer.registry import server_config


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


def labels(config: Path, name: str = "dogs") -> dict[str, int]:
    entry = server_config.find(server_config.read(config), name)
    return dict(entry.version_labels) if entry else {}


def served(config: Path, name: str = "dogs") -> list[int]:
    entry = server_config.find(server_config.read(config), name)
    return list(entry.model_version_policy.specific.versions) if entry else []
