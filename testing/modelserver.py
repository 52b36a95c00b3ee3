"""A model server in a process of its own, and a client."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from testing.polling import DEADLINE_SECONDS
from testing.processes import LOOPBACK, Process

Array = npt.NDArray[np.generic]


class Server(Process):
    """``python -m modelserver`` on a free port of loopback; `close` ends it."""

    def __init__(self, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="modelserver-")
        # Tests read its log, and a trainer in this process may have changed the level in the environment.
        levels = {"TF_CPP_MIN_LOG_LEVEL": "2"}
        arguments = ["modelserver", f"--host={LOOPBACK}", "--port=0", *flags]
        super().__init__("modelserver", arguments, levels | dict(environment or {}), Path(self._folder.name, "log"))
        self._client: Client | None = None

    @property
    def address(self) -> str:
        """Its address; waits until the port is open."""
        self.wait_until(self._port)
        return f"{LOOPBACK}:{self._port()}"

    @property
    def client(self) -> Client:
        """A client; the first use waits until the port is open."""
        if self._client is None:
            self._client = Client(self.address)
        return self._client

    def _port(self) -> str | None:
        listening = re.search(r"listening on 127\.0\.0\.1:(\d+)", self.output)
        return listening.group(1) if listening else None

    def is_open(self) -> bool:
        """Whether it listens."""
        return self._port() is not None

    def close(self) -> None:
        """End it and remove its log."""
        if self._client is not None:
            self._client.close()
        if self.is_running():
            self.kill()
        self._folder.cleanup()


class Client:
    """A client with the stubs of tensorflow-serving-api and NumPy arrays."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    def send(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        return self.prediction.Predict(request, timeout=DEADLINE_SECONDS)

    def predict(
        self,
        name: str,
        signature: str,
        inputs: Mapping[str, object],
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, Array]:
        response = self.send(request(name, signature, inputs, version, label))
        return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}

    def version_that_answers(self, name: str, version: int | None = None, label: str | None = None) -> int:
        """The version number in the model itself; must be equal to that in the spec of the answer."""
        response = self.send(request(name, "describe", {"request": np.zeros(1, np.int32)}, version, label))
        card = json.loads(tf.make_ndarray(response.outputs["card"])[0])
        built = int(card["built"] if isinstance(card, dict) else card)
        assert response.model_spec.version.value == built
        return built

    def states(self, name: str) -> dict[int, str]:
        """The states of all versions; empty if the model has none."""
        try:
            response = self.status(name)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return {}
        states = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: states.Name(entry.state) for entry in response.model_version_status}

    def status(self, name: str, version: int | None = None) -> get_model_status_pb2.GetModelStatusResponse:
        message = get_model_status_pb2.GetModelStatusRequest()
        message.model_spec.name = name
        if version is not None:
            message.model_spec.version.value = version
        return self.model.GetModelStatus(message, timeout=DEADLINE_SECONDS)

    def metadata(self, name: str, *fields: str) -> get_model_metadata_pb2.GetModelMetadataResponse:
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        message.model_spec.name = name
        return self.prediction.GetModelMetadata(message, timeout=DEADLINE_SECONDS)

    def reload(self, message: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        return self.model.HandleReloadConfigRequest(message, timeout=DEADLINE_SECONDS)


def request(
    name: str,
    signature: str,
    inputs: Mapping[str, object],
    version: int | None = None,
    label: str | None = None,
) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for alias, value in inputs.items():
        message.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return message
