"""HTTP/1.1 by uvicorn, with the limits on a connection that uvicorn leaves to a proxy.

* Headers must arrive within a time limit. `message_limits` limits their number and size, and the pieces of a body.
  Trailers count as headers and are then discarded: a trailer must not pass for a header.
* `framing` refuses requests that two servers could read in different ways.
* After a large read, other connections get their turn before this one is read again.
* If a request is answered before its body has arrived, the connection is closed for writing only, and the rest of the
  body is discarded for a while. Closing it at once would make the kernel reset it, and the client could lose the answer
  (RFC 9112, section 9.6).
* `answer_transport` aborts a connection whose client reads nothing for 30 to 60 seconds.
* A request to switch to HTTP/2 or WebSocket is answered over HTTP/1.1. uvicorn would lose its body. Java's HTTP client
  and ``curl --http2`` send such requests first.
* What is not HTTP gets the same error body as any other error. The number of pipelined requests is limited.

A test pins the uvicorn internals that are used here. Read this file again when that test fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway import errors
from gateway.http import cors
from gateway.http.dialects import error_response
from gateway.http.server import connection, framing
from gateway.http.server.answer_transport import AnswerTransport
from gateway.http.server.connection import ConnectionOptions
from gateway.http.server.message_limits import MessageLimits

LARGE_READ_BYTES = 64 * 2**10
"""After a read of this size, the other connections get their turn. uvloop would read up to 32 times 256 KB first."""

LINGER_SECONDS = 10.0
"""How long the rest of a refused body is read and discarded."""

LINGER_BYTES = 256 * 2**20
"""Limit on this rest: larger than any body from a well-behaved client. Reading takes about 0.1 ms for each MB."""

MAX_PIPELINED = 64
"""Limit on pipelined requests that wait. Each takes about 3 KB of memory and can be sent in 18 bytes."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _header_timer: asyncio.TimerHandle | None = None
    _in_headers = False
    _body_complete = True
    """Whether the body of the newest request has arrived; True before the first."""
    _lingering = False
    _discarded_bytes = 0
    _end_timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    """The request in progress; `cycle` is the newest one, which may wait behind it."""
    _lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, with a time limit."""
        super().connection_made(transport)
        if self.client is not None and self.client[0].startswith("::ffff:"):
            # An IPv4 client on a socket for both families: trusted proxies, logs and limits expect its IPv4 address.
            self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
        self._answers = AnswerTransport(transport, self.end)
        self._limits = MessageLimits()
        self._options: ConnectionOptions = self.app_state.get("connections") or ConnectionOptions()
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, notify the request in progress, and drop every reference to this connection.

        So it is freed at once, without the garbage collector.
        """
        for timer in (self._header_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        self._answers.stop_watching()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn notifies only the newest request
            self._running.message_event.set()
        if self._lost is not None:
            self._lost()
        self.pipeline.clear()
        self.cycle = self.scope = self._running = self._lost = None  # type: ignore[assignment]
        del self._answers

    def watch(self, lost: Callable[[], None] | None) -> None:
        """Call `lost` when the client closes the connection; None ends the watch."""
        self._lost = lost
        if lost is not None:
            self.flow.resume_reading()  # the end of a connection is noticed only by reading

    def body_is_here(self) -> bool:
        """Whether the whole body of the current request has arrived, so that receiving it takes no time."""
        return self._body_complete  # of the newest request: it begins only when those before it are complete

    def data_received(self, data: bytes) -> None:
        """Process received bytes in any state of the connection."""
        if len(data) >= LARGE_READ_BYTES and not self.flow.read_paused:
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)
        if self._lingering:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > LINGER_BYTES:
                self.transport.close()
            return
        self._unset_keepalive_if_required()
        self._limits.receive(len(data))
        try:
            self._parse(data)
            self._limits.check_progress()
        except httptools.HttpParserError as error:
            raised = error.__context__  # raised by a method below, which the parser calls
            invalid = errors.BadRequest("This is not a valid HTTP/1.1 request.")
            self._refuse(raised if isinstance(raised, errors.GatewayError) else invalid, data)
        except errors.HeadersTooLarge as error:
            self._refuse(error, data)
        if self.transport.is_closing() or self._lingering:
            return
        if len(data) < LARGE_READ_BYTES:
            self._read_on()
        between_requests = self.cycle is None or self.cycle.response_complete
        if between_requests and self._header_timer is None and self.timeout_keep_alive_task is None:
            # Set a time limit on the rest of a body that was answered early, and on empty lines.
            self._await_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        connection.put(self.scope, self)  # type: ignore[arg-type]
        self._unset_keepalive_if_required()
        self._in_headers = True
        self._limits.begin()
        if self._header_timer is None:
            self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._limits.count_address(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; discard a trailer, which must not pass for one (RFC 9110, section 6.5.1)."""
        self._limits.count_header(len(name) + len(value) + len(":\r\n"))
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) == MAX_PIPELINED:
            raise errors.BadRequest(f"More than {MAX_PIPELINED} pipelined requests are waiting on this connection.")
        framing.check_head(self.parser.get_http_version(), self.headers)
        self._stop_awaiting_headers()
        if not self.url.startswith(b"/") and httptools.parse_url(self.url).path is None:
            origin, mark, query = self.url.partition(b"?")
            self.url = origin + b"/" + mark + query  # RFC 9112, section 3.2.2
        super().on_headers_complete()
        # Set these only now: an error above does not concern the previous request, which may be in progress.
        self._in_headers = self._body_complete = False
        if self.cycle is not None:
            self.cycle.transport = self._answers  # type: ignore[assignment]
            if self._options.shutdown is not None and self._options.shutdown.draining:
                self.cycle.keep_alive = False  # the client's next request goes to another gateway

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._limits.count_body_piece(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete, read or not."""
        if self.parser.should_upgrade():
            return
        self._body_complete = True
        super().on_message_complete()
        if self.cycle.response_complete:  # so the connection is idle from now on
            self._stop_awaiting_headers()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """An answer is written."""
        if self._lingering:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

    def end(self) -> None:
        """Close the connection after an answer. First, discard the rest of the request's body."""
        if self._body_complete or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self._answers.write_eof()
        self.flow.resume_reading()
        self._end_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _read_on(self) -> None:
        """Resume reading, unless requests have not yet taken what has arrived. Taking it resumes reading too.

        uvicorn stops reading while a request is in progress. So it would notice the end of the connection, which
        cancels the request, only after the request.
        """
        if not self.transport.is_closing() and (self._lingering or not self._holds_enough()):
            self.flow.resume_reading()

    def _holds_enough(self) -> bool:
        """Whether the data that requests have not taken yet reaches the limit of this connection."""
        buffered_bytes = sum(len(cycle.body) for cycle, _ in self.pipeline)
        if self._running is not None and not self._running.response_complete:
            buffered_bytes += len(self._running.body)
        return buffered_bytes > HIGH_WATER_LIMIT or len(self.pipeline) == MAX_PIPELINED

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
        """The head at which the parser has stopped, without the Upgrade header, for a new parser."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self._options.header_timeout_seconds, self._headers_late)

    def _stop_awaiting_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_late(self) -> None:
        self._header_timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_headers()  # of a request that follows one in progress
        elif self._in_headers:
            with suppress(httptools.HttpParserError):
                self.parser.feed_data(b"x")  # the parser reports a header, such as Origin, when the next one begins
            self._refuse(errors.UploadTimeout("The request headers did not arrive in time."))
        else:
            self.transport.close()

    def _refuse(self, error: errors.GatewayError, data: bytes = b"") -> None:
        """Answer with an error and end the connection.

        Nothing is sent if the answer could be mistaken for that of another request. `data` are the bytes that were
        being read: an Origin header in them may not have been parsed yet.
        """
        path = ""
        if not self._body_complete:
            # The body of the newest request is wrong. The request ends as if its client had disconnected.
            if self.cycle.response_complete:
                self.end()
                return
            if self.pipeline or self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            path = self.cycle.scope["path"]
        elif self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # the request that is wrong follows one in progress
            return
        allowed = cors.headers(self._options.cors_origins, self.headers or (), data)
        response = error_response(path, error, {"Connection": "close", **allowed})
        status = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()
        fields = [name + b": " + value for name, value in response.raw_headers]
        self._answers.write(b"\r\n".join([status, *fields, b"", bytes(response.body)]))
        self._body_complete = False  # more of the refused request may arrive
        self.end()
