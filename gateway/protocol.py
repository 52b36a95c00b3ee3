"""HTTP/1.1 of uvicorn, with the bounds on a connection that it leaves to a proxy.

* Headers arrive within a time and are of a size, or the connection ends; uvicorn waits for them for ever.
* An answer that was sent before the whole body was read can be read by its caller: the connection is closed on this
  side only, and what still comes is thrown away for a while. Closing it at once makes the kernel reset it, and then
  the answer may be lost (RFC 9112, section 9.6).
* A caller that does not read its answer loses the connection.
* What is no HTTP gets the same error body as everything else.
* A wish to speak HTTP/2 or WebSocket instead is passed over; uvicorn loses the body of such a request, which Java's own
  client and curl with --http2 send first.
* A body that drips wakes its request up twice a second, not with every byte.
* Only so many requests wait behind another one on the same connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import connection, errors
from gateway.dependencies import Services
from gateway.problems import problem_response

MAX_HEADER_BYTES = 64 * 2**10
"""Request line and headers; browsers and proxies stay under 16 KiB."""

LINGER_SECONDS = 10.0
"""For how long the rest of a body that nobody wants is read."""

LINGER_BYTES = 256 * 2**20
"""How much of it: any body that a client sends in good faith, at a cost of about 0.1 ms a MB."""

WAKING_BYTES = 16 * 2**10
"""A body wakes its request up when that much of it has arrived, or it is complete."""

WAKING_SECONDS = 0.5
"""Or after this time, which is the most by which `gateway.intake` sees a byte late."""

MAX_PIPELINED = 64
"""Requests that wait for the one before them; each takes some 3 KB, and can be sent in 18 bytes."""

STALLED_ANSWER_SECONDS = 30.0
"""For how long an answer may wait for its caller to read on."""

DEFAULT_HEADER_SECONDS = 10.0
"""Where the app has no settings."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = False
    _body_complete = True
    _lingering = False
    _thrown_away = 0
    _end_timer: asyncio.TimerHandle | None = None
    _waking_timer: asyncio.TimerHandle | None = None
    _lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, though not for ever."""
        super().connection_made(transport)
        self._answers = _AnswerTransport(self, transport)
        self._services: Services | None = self.app_state.get("services")
        settings = self._services.settings if self._services else None
        self._header_seconds = settings.header_timeout_seconds if settings else DEFAULT_HEADER_SECONDS
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and tell the request in work."""
        for timer in (self._header_timer, self._end_timer, self._waking_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        # With requests in the pipeline the server does not tell the one in work apart from those: it is left alone.
        if self._lost is not None and not self.pipeline:
            self._lost()

    def watch(self, lost: Callable[[], None] | None) -> None:
        """See `Connection`."""
        self._lost = lost
        if lost is not None:
            self.flow.resume_reading()  # or the end of the connection would not be read either

    def body_is_here(self) -> bool:
        """See `Connection`."""
        return self._body_complete  # of the newest request: those before it are complete when that begins

    def data_received(self, data: bytes) -> None:
        """Take bytes, in whatever state the connection is."""
        if self._lingering:
            self._thrown_away += len(data)
            if self._thrown_away > LINGER_BYTES:
                self.transport.close()
            return
        had_begun = self._in_headers
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(errors.BadRequest("This is no HTTP/1.1 request."))
        if self.transport.is_closing() or self._lingering:
            return
        if not self._body_complete and self._waking_timer is None and self.cycle.body:
            self._waking_timer = self.loop.call_later(WAKING_SECONDS, self._wake)
        between_requests = self.cycle is None or self.cycle.response_complete
        if self._in_headers and had_begun:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(errors.HeadersTooLarge(f"The headers are larger than {MAX_HEADER_BYTES:,} bytes."))
        elif between_requests and self._header_timer is None:
            # The rest of a body that was answered early, or empty lines: neither may drip in for ever.
            self._await_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        connection.put(self.scope, self)  # type: ignore[arg-type]
        self._in_headers = True
        self._header_bytes = 0
        if self._header_timer is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        """A request can be started; its answer closes the connection in our way."""
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) == MAX_PIPELINED:
            raise httptools.HttpParserError("too many requests at once")
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        self._in_headers = self._body_complete = False
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = self._answers  # type: ignore[assignment]
            if self._services is not None and self._services.stopping.now:
                self.cycle.keep_alive = False  # the next request goes to another gateway

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if len(self.cycle.body) >= WAKING_BYTES:
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The body is complete, read or not."""
        if self.parser.should_upgrade():
            return
        self._body_complete = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written."""
        if self._lingering:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

    def pause_writing(self) -> None:
        """The caller reads more slowly than the answer is written."""
        super().pause_writing()
        if self._end_timer is None:
            self._end_timer = self.loop.call_later(STALLED_ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller has read on."""
        super().resume_writing()
        if self._end_timer is not None and not self._lingering:
            self._end_timer.cancel()
            self._end_timer = None

    def end(self) -> None:
        """Close the connection after an answer, and throw away what is left of the request's body first."""
        if self._body_complete or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._end_timer is None:
            self._end_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("no proxy") from None
                data = self._plain_head() + data[upgrade.args[0] :]
            else:
                return

    def _plain_head(self) -> bytes:
        """The headers that a parser has just stopped at, without the wish for another protocol, for a new parser."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _wake(self) -> None:
        self._waking_timer = None
        if self.cycle.body:
            self.cycle.message_event.set()

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self._header_seconds, self._headers_late)

    def _headers_late(self) -> None:
        self._header_timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_headers()  # of a request that follows one still in work
        elif self._in_headers:
            self._refuse(errors.UploadTimeout("The headers of the request did not arrive in time."))
        else:
            self.transport.close()

    def _refuse(self, error: errors.GatewayError) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self._body_complete or self.pipeline or self.cycle.response_started:
                self.transport.close()  # what is refused follows a request that is still in work
                return
            # It is the body of this very request, which ends as if its caller had gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        response = problem_response(error, {"Connection": "close"})
        lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        self._body_complete = False  # whatever it is, more of it may come
        self.end()


class _AnswerTransport:
    """The transport as an answer sees it, which may write and then close."""

    def __init__(self, protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport
        self._held = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write an answer's head together with its body, which follows at once: one packet instead of two."""
        if self._held:
            self._send(data)
        else:
            self._held = data
            self._protocol.loop.call_soon(self._send)

    def close(self) -> None:
        """Close the connection when all is written."""
        self._send()
        self._protocol.end()

    def _send(self, data: bytes = b"") -> None:
        pieces, self._held = [one for one in (self._held, data) if one], b""
        # Unless the caller is gone: uvloop would raise then, before it says so.
        if pieces and not self._transport.is_closing():
            self._transport.writelines(pieces)
