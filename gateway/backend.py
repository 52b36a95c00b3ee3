"""The seam to a model server, and the gRPC client behind it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, ModelServerUnavailable
from gateway.pb.serving_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelSpec,
    ModelStatusRequest,
    ModelStatusResponse,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
    SignatureDef,
    SignatureDefMap,
    Tensor,
)

logger = logging.getLogger(__name__)

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the HTTP request in whose context a call is made; the model server gets it as metadata ``x-request-id``."""

MAX_MESSAGE_BYTES = 256 * 2**20
"""Largest answer taken; gRPC's own default of 4 MiB is less than the heat maps of one full batch."""

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "tensorflow.serving.PredictionService"},
                {"service": "tensorflow.serving.ModelService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # The retry budget: each failure takes one token, each success gives a tenth back, and under half of the tokens
    # nothing is retried, so that a struggling server is not hit four times as hard.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A restarted server is found again within a second or two; the default backs off to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    # A silent peer (pulled cable, frozen host) is noticed; servers refuse pings more often than every five minutes
    # on an idle connection, so they are sent only while a call waits.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
)


@dataclass(frozen=True, slots=True)
class Selector:
    """Which version of a model is meant: a number, a label, or neither for the newest."""

    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version}"
        return f"version label {self.label!r}" if self.label is not None else "newest version"


class ServableNotFound(Exception):
    """The model server serves no such model, version or label; it does not say which of them is missing."""


class Backend(Protocol):
    """A model server."""

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> Mapping[str, Tensor]:
        """Run one signature of one version.

        Args:
            model: Name of the model.
            version: Its version; the answer is of just this one.
            signature: Key of the signature.
            inputs: Tensors by input name.
            outputs: Names of the outputs that are wanted.
            deadline: When the answer is no longer of use.

        Raises:
            ServableNotFound: No such model or version.
            ModelServerUnavailable: Not reachable, or too busy.
            ModelServerFailed: The request was refused or failed.
            DeadlineExceeded: Too late.
        """
        ...

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        """The version that a selector stands for at this moment, and its signatures; errors as in `predict`."""
        ...

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        """States of all known versions of a model; errors as in `predict`."""
        ...

    async def close(self) -> None:
        """Close connections; calls in flight are cancelled."""
        ...


RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class GrpcBackend:
    """A TensorFlow model server (or several behind one target) over gRPC.

    The messages are of a package of their own, so the real paths of the services are spelled out here.
    """

    def __init__(self, target: str, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()) -> None:
        """Open the channel; it connects on first use.

        Args:
            target: See `channel_target`.
            interceptors: Called around every call.
        """
        self._channel = grpc.aio.insecure_channel(
            channel_target(target), options=CHANNEL_OPTIONS, interceptors=interceptors
        )
        prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
        self._predict = self._channel.unary_unary(
            prediction + "Predict", PredictRequest.SerializeToString, PredictResponse.FromString
        )
        self._metadata = self._channel.unary_unary(
            prediction + "GetModelMetadata", ModelMetadataRequest.SerializeToString, ModelMetadataResponse.FromString
        )
        self._status = self._channel.unary_unary(
            model + "GetModelStatus", ModelStatusRequest.SerializeToString, ModelStatusResponse.FromString
        )

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> Mapping[str, Tensor]:
        """See `Backend.predict`."""
        request = PredictRequest(model_spec=_spec(model, Selector(version=version)), output_filter=outputs)
        request.model_spec.signature_name = signature
        for name, tensor in inputs.items():
            request.inputs[name].CopyFrom(tensor)
        response = await _call(self._predict, request, deadline)
        return response.outputs

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        """See `Backend.signatures`."""
        request = ModelMetadataRequest(model_spec=_spec(model, selector), metadata_field=["signature_def"])
        response = await _call(self._metadata, request, deadline)
        packed = response.metadata["signature_def"]
        try:
            # Not Any.Unpack: it compares the message's full name, and ours is of another package.
            signatures = SignatureDefMap.FromString(packed.value)
        except DecodeError as error:
            raise ModelServerFailed("The model server's signatures cannot be read.") from error
        return response.model_spec.version.value, signatures.signature_def

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        """See `Backend.status`."""
        response = await _call(self._status, ModelStatusRequest(model_spec=_spec(model, Selector())), deadline)
        return response.model_version_status

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._channel.close()


def channel_target(target: str) -> str:
    """GRPC's name of a target.

    ``host:port`` and anything with a scheme (``dns:///serving:8500``, ``unix:/path``) are taken as gRPC takes them: a
    name that resolves to several addresses is used in turn. Several IPv4 addresses are separated by commas.
    """
    addresses = [part.strip() for part in target.split(",") if part.strip()]
    return "ipv4:" + ",".join(addresses) if len(addresses) > 1 else target.strip()


def _spec(model: str, selector: Selector) -> ModelSpec:
    spec = ModelSpec(name=model)
    if selector.version is not None:
        spec.version.value = selector.version
    elif selector.label is not None:
        spec.version_label = selector.label
    return spec


async def _call(
    method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, deadline: Deadline
) -> ResponseT:
    metadata = (("x-request-id", request_id.get()),) if request_id.get() else None
    try:
        return await method(request, timeout=deadline.remaining(), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise _translated(error) from error


def _translated(error: grpc.aio.AioRpcError) -> Exception:
    """What a gRPC status means here; the server's own words go to the log, never to a caller."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.NOT_FOUND:
        return ServableNotFound(details)
    # Of all that a server refuses as invalid, only a label can be the caller's doing: the code alone does not tell.
    if code is grpc.StatusCode.INVALID_ARGUMENT and details.startswith("Unrecognized servable version label"):
        return ServableNotFound(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("The model server did not answer within the request's deadline.")
    logger.warning("model server: %s: %s", code.name, details, extra={"grpc_code": code.name})
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return ModelServerUnavailable("The model server cannot be reached at the moment.")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ModelServerUnavailable("The model server takes no more work at the moment.")
    return ModelServerFailed("The model server could not answer this request.")
