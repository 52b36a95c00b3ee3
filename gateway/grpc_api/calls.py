"""What happens around every call: its ID, access, limits, errors and telemetry."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from gateway.deadline import Deadline
from gateway.errors import GatewayError, InternalError, UploadTooLarge
from gateway.grpc_api.client_address import client_address
from gateway.grpc_api.receiving import Context, Receiver
from gateway.grpc_api.status import code_of, details_of, metadata_of
from gateway.inference.admission import CALLER_SHARE
from gateway.inference.traffic_split import ROUTING_KEY
from gateway.observability.logs import log_request
from gateway.observability.request_id import accepted_id, request_id
from gateway.observability.request_record import RequestRecord
from gateway.security.access_control import AccessControl
from gateway.security.rate_limits import caller_of
from gateway.services.services import Call, Services

if TYPE_CHECKING:
    from gateway.observability.tracing import Tracing

logger = logging.getLogger(__name__)

OPEN_CALLS = 16
"""Most health checks of one address in progress."""

SMALL_MESSAGE_BYTES = 64 * 2**10
"""Maximum size of a message without tensors, which the event loop parses."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service.

    Attributes:
        answer: Takes the serialised request and returns the serialised response.
        has_tensors: Whether the request may be as large as `Settings.max_tensor_body_bytes`.
        is_open: Whether it needs no API key and has no rate limit, as health checks.
    """

    answer: Callable[[Services, Call, bytes], Awaitable[bytes]]
    has_tensors: bool = False
    is_open: bool = False


class Calls:
    """Runs calls. Keys and rate limits are the same as for HTTP."""

    def __init__(self, services: Services, control: AccessControl, tracing: Tracing | None) -> None:
        self._services = services
        self._control = control
        self._tracing = tracing
        self._receiver = Receiver(services.settings, services.admission)
        self._proxies = [ipaddress.ip_network(one) for one in services.settings.trusted_proxies]

    def handler(self, path: str, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method.

        All methods have one request and one response. They are still registered as streams, which look the same to the
        client: so a call is checked before its message is received, and its answer is sent under control as well.
        """

        async def serve(_: object, context: Context) -> None:
            await self._serve(path, method, context)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _serve(self, path: str, method: Method, context: Context) -> None:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id.set(accepted_id(metadata.get("x-request-id", "")))  # gRPC runs each call in a task of its own
        address = client_address(context.peer(), metadata.get("x-forwarded-for", ""), self._proxies)
        record = RequestRecord(caller=caller_of(address), route=path)
        scope = {"method": "POST", "path": path, "headers": [(k.encode(), v.encode()) for k, v in metadata.items()]}
        with (
            ExitStack() as permit,
            self._tracing.request(scope) if self._tracing is not None else nullcontext() as span,
        ):
            started, status, code = time.perf_counter(), 0, grpc.StatusCode.CANCELLED
            self._services.metrics.requests_in_flight.inc()
            try:
                answer = await self._answer(method, context, metadata, record, permit)
                context.set_trailing_metadata(_trailing(record))
                await context.write(answer)
                status, code = 200, grpc.StatusCode.OK
            except (asyncio.CancelledError, grpc.aio.BaseError, grpc.aio.UsageError) as error:
                traceback.clear_frames(error.__traceback__)
                raise  # the caller has gone
            except Exception as error:
                if not isinstance(error, GatewayError):
                    logger.exception("a call of %s failed", path)
                # gRPC keeps the error in a reference cycle, and so the variables of these functions: also the message.
                traceback.clear_frames(error.__traceback__)
                gateway_error = error if isinstance(error, GatewayError) else InternalError()
                status, code = gateway_error.status, code_of(gateway_error)
                await context.abort(code, details_of(gateway_error), (*_trailing(record), *metadata_of(gateway_error)))
            finally:
                self._services.admission.release(record.turn)
                self._services.metrics.requests_in_flight.dec()
                seconds = time.perf_counter() - started
                self._services.metrics.finished("POST", status, seconds, record)
                if self._tracing is not None and span is not None:
                    self._tracing.finish(span, "POST", status, record)
                level = logging.DEBUG if method.is_open and code is grpc.StatusCode.OK else logging.INFO
                log_request(logger, level, "gRPC", path, code.name, seconds, record)

    async def _answer(
        self, method: Method, context: Context, metadata: Mapping[str, str], record: RequestRecord, permit: ExitStack
    ) -> bytes:
        """The answer to a call. `permit` receives what the call holds until it has ended."""
        settings, admission = self._services.settings, self._services.admission
        if method.is_open:
            permit.enter_context(admission.call(f"{record.caller} without a key", OPEN_CALLS))
            message = await self._receiver.receive_open(context, record)
        else:
            owner = self._control.owner(metadata)
            if owner is not None:
                record.caller = f"key {owner}"
            await self._control.admit(metadata, owner, record.caller)
            permit.enter_context(admission.call(record.caller, max(1, settings.max_uploads // CALLER_SHARE)))
            with record.stage("upload"):
                message = await self._receiver.receive(context, record)
        limit = settings.max_tensor_body_bytes if method.has_tensors else SMALL_MESSAGE_BYTES
        if len(message) > limit:
            raise UploadTooLarge(f"The message is larger than the limit of {limit:,} bytes.", limit=limit)
        admission.hold(record.turn, len(message))
        left = context.time_remaining()
        seconds = settings.request_timeout_seconds
        deadline = Deadline.after(seconds if left is None else min(seconds, left))

        async def count_images(images: int) -> None:
            if self._control.image_limits:
                await self._control.image_limits.count(record.caller, images)

        call = Call(record, deadline, count_images, metadata.get(ROUTING_KEY))
        return await method.answer(self._services, call, message)


def _trailing(record: RequestRecord) -> list[tuple[str, str]]:
    """What headers of responses say over HTTP."""
    trailing = [("x-request-id", request_id.get())]
    if record.version is not None:
        trailing.append(("x-model-version", str(record.version)))
    if record.seconds:
        trailing.append(("server-timing", record.server_timing()))
    return trailing
