"""The gRPC services of TensorFlow Serving, on top of `models.Models`."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NoReturn, Protocol, TypeVar

import grpc

from gateway.pb import serving_pb2 as pb
from modelserver.config import ModelConfig, models_from
from modelserver.errors import ConfigError, from_exception, invalid, shortened
from modelserver.models import Models
from modelserver.pb import management_pb2
from modelserver.predict import DEFAULT_SIGNATURE, predict
from modelserver.servable import Servable
from modelserver.versions import State

_LOG = logging.getLogger(__name__)
_REQUEST_ID = "x-request-id"

PROBE_CALLS = 4
"""Number of calls and threads in addition to the configured number, so that health checks are answered under full
load."""


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


Request = TypeVar("Request")
Response = TypeVar("Response", bound=_Message)


class Service:
    """The methods. Each takes a request and the call's context, and returns a response or raises.

    Args:
        models: The models.
        as_content: Return tensors as raw bytes instead of typed lists.
        configure: Applies a new configuration, given the seconds that its models may take to load (None: no limit).
    """

    def __init__(
        self, models: Models, *, as_content: bool, configure: Callable[[dict[str, ModelConfig], float | None], None]
    ) -> None:
        self._models = models
        self._as_content = as_content
        self._configure = configure

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """The handler for a `grpc.Server`. Other methods of this service are UNIMPLEMENTED."""
        prediction: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Predict": _unary(self.predict, pb.PredictRequest),
            "GetModelMetadata": _unary(self.get_model_metadata, pb.ModelMetadataRequest),
        }
        model: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetModelStatus": _unary(self.get_model_status, pb.ModelStatusRequest),
            "HandleReloadConfigRequest": _unary(self.reload_config, management_pb2.ReloadConfigRequest),
        }
        return [
            grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", prediction),
            grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", model),
        ]

    def predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        """PredictionService/Predict."""
        started = time.perf_counter()
        spec = _spec(request)
        signature_name = spec.signature_name or DEFAULT_SIGNATURE
        response = pb.PredictResponse()
        with self._version(spec) as (number, servable):
            predict(servable, request, response, as_content=self._as_content)
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = signature_name
        if _LOG.isEnabledFor(logging.DEBUG):
            milliseconds = (time.perf_counter() - started) * 1e3
            request_id = _request_id(context)
            _LOG.debug("Predict %s/%d %s %.1f ms%s", spec.name, number, signature_name, milliseconds, request_id)
        return response

    def get_model_metadata(
        self, request: pb.ModelMetadataRequest, _context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """PredictionService/GetModelMetadata."""
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        response = pb.ModelMetadataResponse()
        definitions = pb.SignatureDefMap()
        with self._version(spec) as (number, servable):
            for name, definition in servable.signature_defs.items():
                definitions.signature_def[name].CopyFrom(definition)
        # Not Pack, because the message has another full name here.
        packed = response.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = definitions.SerializeToString()
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        return response

    def get_model_status(
        self, request: pb.ModelStatusRequest, _context: grpc.ServicerContext
    ) -> pb.ModelStatusResponse:
        """ModelService/GetModelStatus; a label in the request is ignored, as TensorFlow Serving does."""
        spec = _spec(request)
        response = pb.ModelStatusResponse()
        version = spec.version.value if spec.HasField("version") else None
        for number, state, error in self._models.status(spec.name, version):
            entry = response.model_version_status.add()
            entry.version = number
            entry.state = state.value  # type: ignore[assignment]
            entry.status.SetInParent()
            if error is not None and state is not State.AVAILABLE:
                entry.status.error_code = error.code.value[0]
                entry.status.error_message = shortened(error.message)
        return response

    def reload_config(
        self, request: management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> management_pb2.ReloadConfigResponse:
        """ModelService/HandleReloadConfigRequest. Returns when the models of the new configuration are loaded."""
        try:
            configs = models_from(request.config)
            if not configs:
                raise ConfigError("the configuration lists no model")
            self._configure(configs, context.time_remaining())
        except ConfigError as error:
            raise invalid(str(error)) from error
        response = management_pb2.ReloadConfigResponse()
        response.status = b""  # set it, as OK
        return response

    def _version(self, spec: pb.ModelSpec) -> AbstractContextManager[tuple[int, Servable]]:
        match spec.WhichOneof("version_choice"):
            case "version":
                return self._models.use(spec.name, number=spec.version.value)
            case "version_label":
                return self._models.use(spec.name, label=spec.version_label)
            case _:
                return self._models.use(spec.name)


def _spec(request: pb.PredictRequest | pb.ModelMetadataRequest | pb.ModelStatusRequest) -> pb.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid("ModelSpec has no name specified.")
    return request.model_spec


def _request_id(context: grpc.ServicerContext) -> str:
    metadata: Mapping[str, str | bytes] = dict(context.invocation_metadata())
    return f" request id {metadata[_REQUEST_ID]!s}" if _REQUEST_ID in metadata else ""


def _unary(
    method: Callable[[Request, grpc.ServicerContext], Response], request_type: type[Request]
) -> "grpc.RpcMethodHandler[Request, Response]":
    def answer(request: Request, context: grpc.ServicerContext) -> Response:
        try:
            return method(request, context)
        except Exception as error:  # every failure becomes a status
            _abort(error, context)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request_type.FromString,  # type: ignore[attr-defined]
        response_serializer=lambda response: response.SerializeToString(),
    )


def _abort(error: Exception, context: grpc.ServicerContext) -> NoReturn:
    failure = from_exception(error)
    if failure.code is grpc.StatusCode.INTERNAL:
        _LOG.error("unexpected %s", failure.message, exc_info=error)
    elif _LOG.isEnabledFor(logging.DEBUG):
        _LOG.debug("%s: %s%s", failure.code.name, failure.message, _request_id(context))
    context.abort(failure.code, shortened(failure.message))


def make_server(
    service: Service, most_calls: int, channel_arguments: Sequence[tuple[str, int | str]] = ()
) -> grpc.Server:
    """A gRPC server for up to ``most_calls`` concurrent calls, and `PROBE_CALLS` more for health checks.

    Further calls fail with RESOURCE_EXHAUSTED. A call holds a thread while it waits for its batch. Engines release the
    GIL while they compute, so waiting threads cost only their stacks.
    """
    options = [
        ("grpc.max_receive_message_length", 2**31 - 1),
        ("grpc.max_send_message_length", 2**31 - 1),
        ("grpc.so_reuseport", 0),  # otherwise two servers could share a port unnoticed
        *channel_arguments,
    ]
    most_calls += PROBE_CALLS
    pool = ThreadPoolExecutor(most_calls, thread_name_prefix="grpc")
    return grpc.server(pool, service.handlers(), options=options, maximum_concurrent_rpcs=most_calls)
