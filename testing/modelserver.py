"""A model server as a process, and a client of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
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

ROOT = Path(__file__).parents[1]
# Long enough for a machine that is busy with other things; a test that passes never waits for it.
DEADLINE_SECONDS = 120.0

Array = npt.NDArray[np.generic]


def wait_for(what: Callable[[], object], message: str = "it did not happen") -> None:
    """Polls until ``what`` is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


class Server:
    """``python -m modelserver`` on a free loopback port."""

    def __init__(self, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "modelserver", "--host=127.0.0.1", "--port=0", *flags]
        env = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | dict(
            environment or {}
        )
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=env)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._client: Client | None = None

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def address(self) -> str:
        """Where it listens; waits until the port is open."""
        wait_for(lambda: self._port() or self.process.poll() is not None, "the port did not open")
        port = self._port()
        assert port, f"the server ended:\n{self.log}"
        return f"127.0.0.1:{port}"

    @property
    def client(self) -> Client:
        """A client; the first use waits until the port is open."""
        if self._client is None:
            self._client = Client(self.address)
        return self._client

    def _port(self) -> str | None:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log)
        return found.group(1) if found else None

    def is_open(self) -> bool:
        return self._port() is not None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals it and returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        return status

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class Client:
    """The stubs of tensorflow-serving-api, with the messages made from NumPy arrays."""

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
        """The number that the model itself was built with, checked against the one in the answer's spec."""
        response = self.send(request(name, "describe", {"request": np.zeros(1, np.int32)}, version, label))
        built = int(tf.make_ndarray(response.outputs["card"])[0])
        assert response.model_spec.version.value == built
        return built

    def states(self, name: str) -> dict[int, str]:
        """Version to state; empty if the model has none."""
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
