"""Limits on request bodies: their number and speed while they arrive, and the memory that they hold."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import UploadTimeout, UploadTooLarge
from gateway.http.multipart import FORM_OVERHEAD_BYTES
from gateway.http.server.connection import connection_of
from gateway.observability.request_record import RequestRecord
from gateway.services.services import Services

RATE_GRACE_SECONDS = 5.0
"""Least time by which an upload may fall behind the minimum rate: a phone that changes cells is silent for a few
seconds.

Each upload gets between this time and twice as much, chosen at random. Otherwise, a thousand silent uploads that began
together would end together, and other requests would wait for almost a second."""

LATE_SECONDS = 0.01
"""A timer that fires later than this shows that the event loop was busy, or the process stood still."""

READING_SECONDS = 1.0
"""Maximum time for reading what has arrived meanwhile."""

LARGE_ANSWER_BYTES = 64 * 2**10
"""An answer over this size counts as memory of its request until the client has read it. The system buffers smaller
ones."""

MAX_READ_OVER_BYTES = 2**20
"""A body up to this size is read to its end even after the answer, so that the connection can be reused."""


class BodyLimits:
    """Applies the limits to every body, independent of the endpoint.

    An endpoint that reads a body over a limit gets the error from `receive`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a metered body."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        services = scope["state"]["services"]
        assert isinstance(services, Services)
        body = Body(services, scope, receive)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.complete and _must_close(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif len(message.get("body", b"")) > LARGE_ANSWER_BYTES and not message.get("more_body", False):
                # The server waits with the next message, the empty end, until it has sent this one.
                await send({**message, "more_body": True})
                message = {"type": "http.response.body"}
            await send(message)

        try:
            await self.app(scope, body.receive, send_and_close)
        finally:
            body.close()


def _has_body(scope: Scope) -> bool:
    return any(
        (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


def _must_close(scope: Scope) -> bool:
    """Whether the connection must be closed after an answer that was sent before the end of the body.

    A short rest of the body is read and discarded. For a long one, closing tells the client to stop sending. A client
    that waits for "100 Continue" and gets the answer instead may or may not send the body, so no request can follow.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return b"expect" in headers or not length.isdigit() or int(length) > MAX_READ_OVER_BYTES


class Body:
    """The body of one request.

    Raises, from `receive`:
        Overloaded: The limit on uploads or on their memory is reached.
        UploadTimeout: The body takes too long or arrives too slowly.
        UploadTooLarge: The body is larger than any route accepts.
    """

    def __init__(self, services: Services, scope: Scope, receive: Receive) -> None:
        settings = services.settings
        self._admission = services.admission
        self._record: RequestRecord = scope["gateway.request_record"]
        self._receive = receive
        self._connection = connection_of(scope)
        self._seconds = settings.upload_timeout_seconds
        self._rate = settings.min_upload_bytes_per_second
        self._grace = random.uniform(RATE_GRACE_SECONDS, 2 * RATE_GRACE_SECONDS)  # noqa: S311 - no secret
        self._max_bytes = settings.max_body_bytes + FORM_OVERHEAD_BYTES
        self._started = 0.0
        self._held_bytes = 0
        self.complete = False
        self._has_permit = False

    async def receive(self) -> Message:
        """The next message of the request."""
        if self.complete:
            return await self._receive()
        if not self._started:
            self._started = asyncio.get_running_loop().time()
        if self._connection is not None and self._connection.body_is_here():
            message = await self._receive()
        else:
            message = await self._received_in_time()
        count = len(message.get("body", b""))
        # Not earlier: a client that announces a body and sends nothing must not hold a permit.
        if count and not self._has_permit:
            self._admission.begin_upload(self._record.caller)
            self._has_permit = True
        if self._held_bytes + count > self._max_bytes:
            raise UploadTooLarge(f"The body is larger than {self._max_bytes:,} bytes.", limit=self._max_bytes)
        self._admission.hold(self._record.turn, count)
        self._held_bytes += count
        if not message.get("more_body", False):
            self.complete = True
            self._end_upload()
        return message

    def close(self) -> None:
        """Release the permit of this body, and all memory of its request."""
        self._end_upload()
        self._admission.release(self._record.turn)

    def _end_upload(self) -> None:
        if self._has_permit:
            self._has_permit = False
            self._admission.end_upload(self._record.caller)

    async def _received_in_time(self) -> Message:
        due = self.due()
        try:
            async with asyncio.timeout_at(due):
                return await self._receive()
        except TimeoutError:
            late = asyncio.get_running_loop().time() - due
        if late >= LATE_SECONDS:
            # Nothing was read meanwhile. The upload gets that time back, and as much to read what has arrived.
            self._started += late + min(late, READING_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self.due()):
                    return await self._receive()
        raise UploadTimeout(
            f"The upload took longer than {self._seconds:g} seconds or was slower than {self._rate} bytes per second."
        )

    def due(self) -> float:
        """When the next piece must have arrived, on the event loop's clock."""
        end = self._started + self._seconds
        if self._rate:
            end = min(end, self._started + self._grace + self._held_bytes / self._rate)
        return end
