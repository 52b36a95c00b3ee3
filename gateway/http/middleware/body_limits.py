"""Bounds on request bodies while they arrive: how many, how large together, and how slowly."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import UploadTimeout, UploadTooLarge
from gateway.http.multipart import FORM_OVERHEAD_BYTES
from gateway.http.server.connection import connection_of
from gateway.http.services import Services

RATE_GRACE_SECONDS = 5.0
"""How far an upload may fall behind the least rate: a phone that changes cells is silent for a few seconds."""


MAX_READ_OVER_BYTES = 2**20
"""A body that is no longer than this is read to its end even when its answer is out, and the connection goes on."""


class BodyLimits:
    """Meters every body on its way to whatever endpoint reads it.

    The limits hold for all routes alike, a JSON body included, and cost a request without a body nothing. What goes
    over one of them is raised out of the endpoint's own read.
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
        body = _Body(services, scope, receive)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.complete and _must_close(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
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
    """Whether the connection cannot go on after an answer that came before the end of the body.

    A short rest is read over; of a long one the caller is told that there is no use in sending it. One that waits for
    "100 Continue" and gets its answer instead may or may not send the body, so nothing can follow it.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return b"expect" in headers or not length.isdigit() or int(length) > MAX_READ_OVER_BYTES


class _Body:
    """The body of one request.

    Raises, from `receive`:
        Overloaded: As many bodies, or as many bytes, are held as may be.
        UploadTimeout: It takes too long, or comes too slowly.
        UploadTooLarge: It is larger than any route takes.
    """

    def __init__(self, services: Services, scope: Scope, receive: Receive) -> None:
        settings = services.settings
        self._admission = services.admission
        self._caller = scope["gateway.request_record"].caller
        self._receive = receive
        self._connection = connection_of(scope)
        self._seconds = settings.upload_timeout_seconds
        self._rate = settings.min_upload_bytes_per_second
        self._max_bytes = settings.max_body_bytes + FORM_OVERHEAD_BYTES
        self._started = 0.0
        self._held = 0
        self.complete = False
        self._has_permit = False

    async def receive(self) -> Message:
        """The next piece of the body, or of what comes after it."""
        if self.complete:
            return await self._receive()
        if not self._started:
            self._started = asyncio.get_running_loop().time()
        if self._connection is not None and self._connection.body_is_here():
            message = await self._receive()
        else:
            message = await self._received_in_time()
        count = len(message.get("body", b""))
        if count and not self._has_permit:  # not before: who announces a body and sends none takes no room from others
            self._admission.begin_upload()
            self._has_permit = True
        if self._held + count > self._max_bytes:
            raise UploadTooLarge(f"The body is larger than {self._max_bytes:,} bytes.", limit=self._max_bytes)
        self._admission.hold(self._caller, count)
        self._held += count
        if not message.get("more_body", False):
            self.complete = True
            self._end_upload()
        return message

    def close(self) -> None:
        """Give back what this body took; its request is over."""
        self._end_upload()
        self._admission.release(self._caller, self._held)

    def _end_upload(self) -> None:
        if self._has_permit:
            self._has_permit = False
            self._admission.end_upload()

    async def _received_in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._due()):
                return await self._receive()
        except TimeoutError:
            raise UploadTimeout(
                f"The upload took longer than {self._seconds:g} seconds or was slower than "
                f"{self._rate} bytes per second."
            ) from None

    def _due(self) -> float:
        """When the next piece must be there, on the event loop's clock."""
        end = self._started + self._seconds
        if self._rate:
            end = min(end, self._started + RATE_GRACE_SECONDS + self._held / self._rate)
        return end
