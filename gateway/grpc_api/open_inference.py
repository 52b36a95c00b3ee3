"""The Open Inference Protocol over gRPC, for the clients of KServe and Triton."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway import __version__
from gateway.errors import BadRequest, InvalidParameter, NotFound, UnknownModel
from gateway.grpc_api.calls import Method
from gateway.grpc_api.fields import length_delimited_fields, parsed
from gateway.inference.predictor import TensorRequest
from gateway.model_options import MODEL_NAME
from gateway.pb.open_inference_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from gateway.services import open_inference
from gateway.services.readiness import is_ready
from gateway.services.services import Call, Services
from gateway.serving.backend import Selector

SERVICE = "inference.GRPCInferenceService"

VERSION = re.compile(r"[0-9]{1,18}")
"""Versions are signed 64-bit numbers in TensorFlow Serving."""


async def server_live(_: Services, __: Call, ___: bytes) -> bytes:
    """Whether the process runs."""
    return ServerLiveResponse(live=True).SerializeToString()


async def server_ready(services: Services, _: Call, __: bytes) -> bytes:
    """Whether every configured model is ready."""
    return ServerReadyResponse(ready=await is_ready(services)).SerializeToString()


async def server_metadata(_: Services, __: Call, ___: bytes) -> bytes:
    """Name and version of the server."""
    return ServerMetadataResponse(name=open_inference.SERVER_NAME, version=__version__).SerializeToString()


async def model_ready(services: Services, _: Call, message: bytes) -> bytes:
    """Whether a model, or one version of it, can answer; false also for one that does not exist."""
    request = parsed(ModelReadyRequest, message)
    try:
        model, selector = _target(request.name, request.version)
        ready = await open_inference.is_ready(services, model, selector)
    except NotFound:
        ready = False
    return ModelReadyResponse(ready=ready).SerializeToString()


async def model_metadata(services: Services, _: Call, message: bytes) -> bytes:
    """The versions, inputs and outputs of a model."""
    request = parsed(ModelMetadataRequest, message)
    model, selector = _target(request.name, request.version)
    described = await open_inference.metadata(services, model, selector)
    return ModelMetadataResponse(
        name=model,
        versions=described.versions,
        platform=open_inference.PLATFORM,
        inputs=_tensors(described.inputs),
        outputs=_tensors(described.outputs),
    ).SerializeToString()


async def model_infer(services: Services, call: Call, message: bytes) -> bytes:
    """Run a signature, or classify encoded images."""
    name, version = ModelInferRequest.MODEL_NAME_FIELD_NUMBER, ModelInferRequest.MODEL_VERSION_FIELD_NUMBER
    fields = length_delimited_fields(message, {name, version})
    model, selector = _target(*(_text(fields.get(number, [b""])[-1]) for number in (name, version)))
    call.record.image_bytes = len(message)
    async with services.admit(call, 1):
        request = TensorRequest("open_inference_grpc_request", [message], {}, call.count_images)
        _, written = await open_inference.infer(
            services, call, model, selector, request, "open_inference_grpc_response"
        )
    return written.buffers[0]


def _target(model: str, version: str) -> tuple[str, Selector]:
    if not re.fullmatch(MODEL_NAME, model):
        raise UnknownModel(f"The model {model[:80]!r} does not exist.")
    if not version:
        return model, Selector()
    if not VERSION.fullmatch(version):
        raise InvalidParameter("The version of the model must be a whole number.")
    return model, Selector(version=int(version))


def _tensors(described: Sequence[open_inference.Tensor]) -> list[ModelMetadataResponse.TensorMetadata]:
    return [
        ModelMetadataResponse.TensorMetadata(name=one.name, datatype=one.datatype, shape=one.shape) for one in described
    ]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("The name of the model or its version is not UTF-8.") from error


SERVICES = {
    SERVICE: {
        "ServerLive": Method(server_live, is_open=True),
        "ServerReady": Method(server_ready, is_open=True),
        "ServerMetadata": Method(server_metadata),
        "ModelReady": Method(model_ready),
        "ModelMetadata": Method(model_metadata),
        "ModelInfer": Method(model_infer, has_tensors=True),
    }
}
"""The methods of the service."""
