"""A real gRPC model server without TensorFlow, whose models tell the main colour of an image.

It speaks the wire protocol of TensorFlow Serving with the answers and status codes of the real one, and can be told to
stall, to refuse, and to change versions, which a test of the gateway needs and no model server offers.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from PIL import Image

from gateway.pb import serving_pb2 as pb
from gateway.tensors.wire import number_array, string_values
from testing.colour_scores import COLOURS, colour_heat, colour_lights, colour_scores
from testing.tensors import number_tensor, string_tensor

Tensors = Mapping[str, tuple[int, tuple[int, ...]]]
"""Dtype and shape of each input or output of a signature."""


class Refused(Exception):
    """A model takes no such input."""


@dataclass(frozen=True)
class ColourModel:
    """Scores of three colours: the share that each channel has of the light, or with thresholds, how light it is.

    Its labels may stand in any order; the scores follow them, so that an answer with the labels of another version is
    a wrong answer.
    """

    labels: tuple[str, ...] = COLOURS
    height: int = 8
    width: int = 8
    threshold: float | None = None
    fit: str = "crop"
    explains: bool = True
    embeds: bool = True
    other_labels: tuple[str, ...] = ()
    baseline: Mapping[str, object] | None = None
    least_set_score: float | None = None
    thresholds: tuple[float, ...] | None = None
    words: Mapping[str, object] = field(default_factory=dict)
    """Further entries of the card. Labels in it are others for the same colours."""

    @property
    def scored(self) -> tuple[str, ...]:
        return self.labels + self.other_labels

    def card(self) -> dict[str, object]:
        return {
            "schema": 1,
            "name": "colours",
            "task": "image-classification" if self.thresholds is None else "multi-label",
            "thresholds": self.thresholds or (),
            "description": "Knows three colours.",
            "labels": self.labels,
            "other_labels": self.other_labels,
            "input": {"height": self.height, "width": self.width, "fit": self.fit, "interpolation": "bilinear"},
            "unknown_threshold": self.threshold,
            "baseline": self.baseline,
            "label_sets": {} if (least := self.least_set_score) is None else {"coverage": 0.95, "least_score": least},
            **self.words,
        }

    def signatures(self) -> dict[str, pb.SignatureDef]:
        images: Tensors = {"images": (pb.DataType.DT_UINT8, (-1, self.height, self.width, 3))}
        probabilities: Tensors = {"probabilities": (pb.DataType.DT_FLOAT, (-1, len(self.scored)))}
        signatures = {
            "pixels": signature(images, probabilities),
            "describe": signature({"request": (pb.DataType.DT_INT32, (-1,))}, {"card": (pb.DataType.DT_STRING, (-1,))}),
        }
        if self.explains:
            heatmap: Tensors = {"heatmap": (pb.DataType.DT_FLOAT, (-1, self.height, self.width))}
            signatures["explain"] = signature(images, {**probabilities, **heatmap})
        if self.embeds:
            signatures["embed"] = signature(images, {"embedding": (pb.DataType.DT_FLOAT, (-1, 3))})
        return signatures

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name == "describe":
            rows = number_array(inputs["request"], max_elements=64)
            return {"card": string_tensor([json.dumps(self.card()).encode()] * len(rows))}
        images = number_array(inputs["images"], max_elements=10**8)
        assert images.dtype == np.uint8
        assert images.shape[1:] == (self.height, self.width, 3), images.shape
        if name == "embed":
            shares = colour_scores(images)
            return {"embedding": number_tensor(shares / np.linalg.norm(shares, axis=1, keepdims=True))}
        scores = colour_scores(images, self.scored) if self.thresholds is None else colour_lights(images, self.labels)
        answer = {"probabilities": number_tensor(scores)}
        if name == "explain":
            answer["heatmap"] = number_tensor(
                colour_heat(images, [self.labels[best] for best in scores[:, : len(self.labels)].argmax(axis=1)])
            )
        return answer


@dataclass(frozen=True)
class ForeignModel:
    """A classifier that does not describe itself: one signature of any form."""

    inputs: Tensors
    outputs: Tensors
    answer: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.float32]]

    def signatures(self) -> dict[str, pb.SignatureDef]:
        return {"serving_default": signature(self.inputs, self.outputs)}

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        assert name == "serving_default"
        [tensor] = inputs.values()
        if tensor.dtype == pb.DataType.DT_STRING:
            encoded = string_values(tensor, max_elements=64)
            photos = (Image.open(io.BytesIO(one)).convert("RGB").resize((8, 8)) for one in encoded)
            images = np.stack([np.asarray(photo) for photo in photos])
        else:
            images = number_array(tensor, max_elements=10**8)
        [output] = self.outputs
        return {output: number_tensor(self.answer(images))}


def signature(inputs: Tensors, outputs: Tensors) -> pb.SignatureDef:
    described = pb.SignatureDef(method_name="tensorflow/serving/predict")
    for side, tensors in ((described.inputs, inputs), (described.outputs, outputs)):
        for name, (dtype, shape) in tensors.items():
            side[name].dtype = pb.DataType.Name(dtype)  # type: ignore[assignment]
            for size in shape:
                side[name].tensor_shape.dim.add(size=size)
    return described


Model = ColourModel | ForeignModel


@dataclass
class ColourServer:
    """The server: what it serves, and how it misbehaves, can be changed at any time."""

    models: dict[str, dict[int, Model]] = field(default_factory=dict)
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    refusal: tuple[grpc.StatusCode, str] | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    batch_sizes: list[int] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    states: dict[tuple[str, int], pb.ModelVersionStatus.State] = field(default_factory=dict)
    """By model and version, the state of those that are not available, which answer no calls."""
    failed_versions: dict[str, dict[int, str]] = field(default_factory=dict)
    """By model, versions that could not be loaded, and why."""
    busy: int = 0
    """Calls that are still answered UNAVAILABLE before it works again."""
    calls: int = 0
    """Calls of any method, retries included."""
    waiting: int = 0
    """Stalled calls whose caller still waits."""
    given_up: int = 0
    """Stalled calls whose caller cancelled them, or whose deadline passed."""
    time_left: list[float] = field(default_factory=list)
    """Seconds that each Predict call came with."""
    peers: set[str] = field(default_factory=set)
    """Where Predict calls came from: one address for each gateway process."""
    address: str = ""
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while a number is changed, because each call has a thread of its own."""

    @contextmanager
    def serving(self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
        """Serve on an address; a port of 0 takes a free one. With credentials: by TLS."""
        # Messages of any size, as TensorFlow Serving takes them.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        server = grpc.server(ThreadPoolExecutor(64), options=options)
        handlers: dict[str, dict[str, tuple[Callable[..., Message], type[Message]]]] = {
            "tensorflow.serving.PredictionService": {
                "Predict": (self._predict, pb.PredictRequest),
                "GetModelMetadata": (self._metadata, pb.ModelMetadataRequest),
            },
            "tensorflow.serving.ModelService": {"GetModelStatus": (self._status, pb.ModelStatusRequest)},
        }
        for service, methods in handlers.items():
            answering: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
                name: grpc.unary_unary_rpc_method_handler(
                    handle, request.FromString, lambda answer: answer.SerializeToString()
                )
                for name, (handle, request) in methods.items()
            }
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, answering)])
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        self.address = f"{address.rsplit(':', 1)[0]}:{port}"
        server.start()
        try:
            yield self.address
        finally:
            self.stalled.clear()
            server.stop(grace=None).wait()

    def _find(self, spec: pb.ModelSpec, context: grpc.ServicerContext) -> tuple[int, Model]:
        versions = self.models.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            number = self.labels.get((spec.name, spec.version_label))
            if number is None:
                _abort(context, "INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        elif choice == "version":
            number = spec.version.value
        else:
            number = max((one for one in list(versions) if (spec.name, one) not in self.states), default=0)
        model = None if (spec.name, number) in self.states else versions.get(number)
        if model is None:
            request = f"Specific({spec.name}, {number})" if choice else f"Latest({spec.name})"
            _abort(context, "NOT_FOUND", f"Servable not found for request: {request}")
        return number, model

    def _predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        self._misbehave(context)
        number, model = self._find(request.model_spec, context)
        name = request.model_spec.signature_name
        if name not in model.signatures():
            _abort(context, "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        self.request_ids.extend(str(value) for key, value in context.invocation_metadata() if key == "x-request-id")
        if name != "describe":
            self.time_left.append(context.time_remaining())
            self.peers.add(context.peer())
            first_input = next(iter(request.inputs.values()))
            self.batch_sizes.append(first_input.tensor_shape.dim[0].size if first_input.tensor_shape.dim else 1)
        response = pb.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        try:
            outputs = model.predict(name, request.inputs)
        except Refused as error:
            _abort(context, "INVALID_ARGUMENT", str(error))
        for output, tensor in outputs.items():
            if not request.output_filter or output in request.output_filter:
                response.outputs[output].CopyFrom(tensor)
        return response

    def _metadata(self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext) -> pb.ModelMetadataResponse:
        self._misbehave(context)
        number, model = self._find(request.model_spec, context)
        response = pb.ModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        packed = pb.SignatureDefMap(signature_def=model.signatures())
        response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        response.metadata["signature_def"].value = packed.SerializeToString()
        return response

    def _status(self, request: pb.ModelStatusRequest, context: grpc.ServicerContext) -> pb.ModelStatusResponse:
        self._misbehave(context)
        name = request.model_spec.name
        if name not in self.models:
            _abort(context, "NOT_FOUND", f"Could not find any versions of model {name}")
        response = pb.ModelStatusResponse()
        for number in self.models[name]:
            response.model_version_status.add(version=number, state=self.states.get((name, number), "AVAILABLE"))
        for number, reason in self.failed_versions.get(name, {}).items():
            failed = response.model_version_status.add(version=number, state="END")
            failed.status.error_code, failed.status.error_message = grpc.StatusCode.INTERNAL.value[0], reason
        return response

    def _misbehave(self, context: grpc.ServicerContext) -> None:
        with self._counting:
            self.calls += 1
        if self.refusal is not None:
            context.abort(*self.refusal)
        with self._counting:
            busy, self.busy = self.busy > 0, max(0, self.busy - 1)
        if busy:
            _abort(context, "UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
        if self.stalled.is_set():
            self._stall(context)
        if not context.is_active():
            with self._counting:
                self.given_up += 1
            context.abort(grpc.StatusCode.CANCELLED, "")

    def _stall(self, context: grpc.ServicerContext) -> None:
        with self._counting:
            self.waiting += 1
        while self.stalled.is_set() and context.is_active():
            threading.Event().wait(0.01)
        with self._counting:
            self.waiting -= 1


def _abort(context: grpc.ServicerContext, code: str, details: str) -> NoReturn:
    context.abort(grpc.StatusCode[code], details)
