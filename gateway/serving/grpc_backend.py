"""The gRPC client of TensorFlow Serving."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TypeVar
from weakref import WeakValueDictionary

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, GatewayError, ModelServerFailed, ModelServerUnavailable
from gateway.observability.request_id import request_id
from gateway.pb.serving_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelSpec,
    ModelStatusRequest,
    ModelStatusResponse,
    ModelVersionStatus,
    PredictRequest,
    SignatureDef,
    SignatureDefMap,
)
from gateway.serving.backend import Selector, ServableNotFound
from gateway.serving.channel import ModelServerChannel
from gateway.serving.read_write_lock import ReadWriteLock
from gateway.tensors.wire import Wire, length_delimited

logger = logging.getLogger(__name__)

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
"""The real paths of the services. The messages here are in another package."""

READ_PAUSES = (0.0, 0.01, 0.02)
"""Pauses in seconds before a call that only reads is repeated, if it found no such version on one of several servers.

During a rollout, the model servers do not all have the same versions. Calls go to them in turn. Two callers who repeat
theirs in step would meet the wrong server each time, so as many calls as there are servers are made at the same time.
Usually, each of them goes to another server."""

MAX_SERVERS_CALLED = 8
"""Limit on these calls at a time, because callers can ask for versions that do not exist."""

PREDICT_PAUSES = (0.0, 0.005, 0.01, 0.02, 0.02)
"""Maximum pauses in seconds before a prediction is repeated for the same reason; each pause is random.

It goes to one server at a time: a request can be large, and must not be computed twice."""

BROKEN_STREAM = ("RST_STREAM", "Stream removed", "GOAWAY", "Connection reset", "Socket closed", "Broken pipe")
"""In gRPC's own details of INTERNAL and UNKNOWN: the connection broke. Failures of a model have other details."""

BOOKKEEPING_PREFIX = "__saved_model_"
"""Prefix of names such as `__saved_model_init_op`, which TensorFlow Serving lists as signatures but cannot run."""

NOWHERE = "no model server has this model or version"

NO_HTTP_2 = "Failed parsing HTTP/2"
"""In gRPC's own details of UNAVAILABLE: the answer is not gRPC, for example from a REST port."""


ResponseT = TypeVar("ResponseT", bound=Message)


class GrpcBackend:
    """A TensorFlow model server (or several behind one target) over gRPC."""

    def __init__(self, connection: ModelServerChannel) -> None:
        self._connection = connection
        self._locks: WeakValueDictionary[tuple[str, int, str], ReadWriteLock] = WeakValueDictionary()

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Wire],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> bytes:
        """See `Backend.predict`.

        A model server batches concurrent calls, and one bad row fails all of them. So a call that it refuses is
        repeated once, alone, if other calls of this process were in progress.
        """
        pieces: list[bytes | bytearray | memoryview] = [_predict_head(model, version, signature, tuple(outputs))]
        for name, tensor in inputs.items():
            # An entry of a map is a message of key and value, fields 1 and 2; messages that follow each other are one.
            entry = [*length_delimited(1, [name.encode()]), *length_delimited(2, tensor)]
            pieces += length_delimited(PredictRequest.INPUTS_FIELD_NUMBER, entry)
        request = b"".join(pieces)
        callee = model, version, signature
        lock = self._locks.get(callee) or self._locks.setdefault(callee, ReadWriteLock())
        try:
            async with asyncio.timeout(deadline.remaining()):
                async with lock.read() as had_others:
                    try:
                        return await self._predict(request, deadline)
                    except ModelServerFailed as error:
                        if not error.server_message or not had_others():
                            raise
                async with lock.write():
                    return await self._predict(request, deadline)
        except TimeoutError:
            raise DeadlineExceeded("The model server did not answer before the deadline of the request.") from None

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        """See `Backend.signatures`."""
        request = ModelMetadataRequest(model_spec=_spec(model, selector), metadata_field=["signature_def"])
        answer = await self._read(METADATA, request.SerializeToString(), deadline)
        response = _parsed(ModelMetadataResponse, answer)
        packed = response.metadata["signature_def"]
        try:
            # Not Any.Unpack, because it compares the message's full name, and ours is in another package.
            signatures = SignatureDefMap.FromString(packed.value)
        except DecodeError as error:
            raise ModelServerFailed("The model server's signatures cannot be parsed.") from error
        callable_ = {
            key: one for key, one in signatures.signature_def.items() if not key.startswith(BOOKKEEPING_PREFIX)
        }
        return response.model_spec.version.value, callable_

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        """See `Backend.status`."""
        request = ModelStatusRequest(model_spec=_spec(model, Selector()))
        answer = await self._read(STATUS, request.SerializeToString(), deadline)
        return _parsed(ModelStatusResponse, answer).model_version_status

    def servers(self) -> int:
        """See `Backend.servers`."""
        return self._connection.servers

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._connection.close()

    async def _predict(self, request: bytes, deadline: Deadline) -> bytes:
        for pause in PREDICT_PAUSES if self._connection.replicated else ():
            with suppress(ServableNotFound):
                return await self._call_once(PREDICT, request, deadline)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        return await self._call_once(PREDICT, request, deadline)

    async def _read(self, path: str, request: bytes, deadline: Deadline) -> bytes:
        try:
            return await self._call_once(path, request, deadline)
        except ServableNotFound:
            if not self._connection.replicated:
                raise
        for pause in READ_PAUSES:
            await asyncio.sleep(pause)
            with suppress(ServableNotFound):
                return await self._call_each_server(path, request, deadline)
        raise ServableNotFound(NOWHERE)

    async def _call_each_server(self, path: str, request: bytes, deadline: Deadline) -> bytes:
        """The first answer of any server.

        Raises:
            ServableNotFound: No server has the version.
            GatewayError: None answered, and at least one failed.
        """
        # The number of servers is not known of all targets.
        count = min(max(2, self._connection.servers), MAX_SERVERS_CALLED)
        calls = [asyncio.create_task(self._call_once(path, request, deadline)) for _ in range(count)]
        failure: Exception = ServableNotFound(NOWHERE)
        try:
            for call in asyncio.as_completed(calls):
                try:
                    return await call
                except ServableNotFound:
                    continue
                except GatewayError as error:
                    failure = error
            raise failure
        finally:
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _call_once(self, path: str, request: bytes, deadline: Deadline) -> bytes:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        method = (await self._connection.channel(deadline)).unary_unary(path)
        # gRPC converts a tuple to the same, but takes longer.
        metadata = grpc.aio.Metadata(("x-request-id", request_id.get())) if request_id.get() else None
        try:
            return await method(request, timeout=deadline.remaining(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._connection.failed()
            raise _translated(error) from error


def _parsed(kind: type[ResponseT], answer: bytes) -> ResponseT:
    try:
        return kind.FromString(answer)
    except DecodeError as error:
        raise ModelServerFailed("The model server's answer cannot be parsed.") from error


@lru_cache(256)
def _predict_head(model: str, version: int, signature: str, outputs: tuple[str, ...]) -> bytes:
    """A serialised PredictRequest without its inputs. It is the same for every request to a version."""
    request = PredictRequest(model_spec=_spec(model, Selector(version=version)), output_filter=outputs)
    request.model_spec.signature_name = signature
    return request.SerializeToString()


def _spec(model: str, selector: Selector) -> ModelSpec:
    spec = ModelSpec(name=model)
    if selector.version is not None:
        spec.version.value = selector.version
    elif selector.label is not None:
        spec.version_label = selector.label
    return spec


def _translated(error: grpc.aio.AioRpcError) -> Exception:
    """The error for a gRPC status. Its message goes to the log; one about the request, also to `server_message`."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.NOT_FOUND:
        return ServableNotFound(details)
    # Only an unknown label can be the caller's fault. The status code alone does not tell.
    if code is grpc.StatusCode.INVALID_ARGUMENT and details.startswith("Unrecognized servable version label"):
        return ServableNotFound(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("The model server did not answer before the deadline of the request.")
    logger.warning("the model server returned %s: %s", code.name, details, extra={"grpc_code": code.name})
    if NO_HTTP_2 in details:
        return ModelServerUnavailable(
            "The server at GATEWAY_SERVING_TARGET does not speak gRPC. Use the gRPC port of the model server (by "
            "default 8500), not its REST port (8501)."
        )
    broken = code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and any(
        word in details for word in BROKEN_STREAM
    )
    if broken or code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return ModelServerUnavailable("The model server is not reachable.")
    # The code is the same for a busy server and for a message that is too large. Only the former is worth a retry.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" not in details:
        return ModelServerUnavailable("The model server is overloaded.")
    message = details if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION) else ""
    return ModelServerFailed("The model server could not answer this request.", server_message=_first_line(message))


def _first_line(text: str) -> str:
    """The first line that is not blank, with control characters escaped."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
