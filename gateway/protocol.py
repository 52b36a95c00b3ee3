"""HTTP/1.1 of uvicorn, with the bounds on a connection that it leaves to a proxy.

* Headers arrive within a time and are of a size, or the connection ends; uvicorn waits for them for ever.
* What comes behind a body in the form of headers, its trailers, counts as their size and is no header.
* An answer that was sent before the whole body was read can be read by its caller: the connection is closed on this
  side only, and what still comes is thrown away for a while. Closing it at once makes the kernel reset it, and then
  the answer may be lost (RFC 9112, section 9.6).
* A caller that reads nothing of its answer for a while loses the connection, however little is left of it.
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
from gateway.problems import error_response

MAX_HEADER_BYTES = 32 * 2**10
"""Address, headers and trailers of a request; browsers and proxies stay under 16 KiB.

64 KiB of nothing but separators would hold up the event loop for 7 to 20 ms where they are taken apart."""

MAX_ADDRESS_BYTES = 8 * 2**10
"""Path and query of a request; most servers and proxies take no more."""

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
"""For how long an answer may wait until its caller reads any of it; noticed within twice this time."""

DEFAULT_HEADER_SECONDS = 10.0
"""Where the app has no settings."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _header_timer: asyncio.TimerHandle | None = None
    _field_bytes = 0
    """Of the address, headers and trailers of a request."""
    _unended_bytes = 0
    """That came since the parser last reported anything: of one header without end, say."""
    _in_headers = False
    _body_complete = True
    _lingering = False
    _thrown_away = 0
    _end_timer: asyncio.TimerHandle | None = None
    _stalled_timer: asyncio.TimerHandle | None = None
    _written_bytes = 0
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
        """Stop all timers, tell the request in work, and let go of all that refers back to this connection.

        So it is freed at once and no collector need find it.
        """
        for timer in (self._header_timer, self._end_timer, self._stalled_timer, self._waking_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        # With requests in the pipeline the server does not tell the one in work apart from those: it is left alone.
        if self._lost is not None and not self.pipeline:
            self._lost()
        self.pipeline.clear()
        self.cycle = self.scope = self._lost = None  # type: ignore[assignment]
        del self._answers

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
        self._unset_keepalive_if_required()
        self._unended_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            raised = error.__context__  # by one of the methods below, which the parser calls
            unreadable = errors.BadRequest("This is no HTTP/1.1 request.")
            self._refuse(raised if isinstance(raised, errors.GatewayError) else unreadable)
        else:
            if self._unended_bytes > MAX_HEADER_BYTES:
                self._refuse(_too_large())
        if self.transport.is_closing() or self._lingering:
            return
        if not self._body_complete and self._waking_timer is None and self.cycle.body:
            self._waking_timer = self.loop.call_later(WAKING_SECONDS, self._wake)
        between_requests = self.cycle is None or self.cycle.response_complete
        if between_requests and self._header_timer is None and self.timeout_keep_alive_task is None:
            # The rest of a body that was answered early, or empty lines: neither may drip in for ever.
            self._await_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        connection.put(self.scope, self)  # type: ignore[arg-type]
        self._unset_keepalive_if_required()
        self._in_headers = True
        self._field_bytes = 0
        if self._header_timer is None:
            self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._count(len(url))
        super().on_url(url)
        if len(self.url) > MAX_ADDRESS_BYTES:
            raise errors.AddressTooLong(f"The address is longer than {MAX_ADDRESS_BYTES:,} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and throw a trailer away: it must not pass for one (RFC 9110, section 6.5.1)."""
        self._count(len(name) + len(value) + len(":\r\n"))
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request can be started; its answer closes the connection in our way."""
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) == MAX_PIPELINED:
            raise httptools.HttpParserError("too many requests at once")
        self._stop_awaiting_headers()
        if not self.url.startswith(b"/") and httptools.parse_url(self.url).path is None:
            origin, mark, query = self.url.partition(b"?")
            self.url = origin + b"/" + mark + query  # RFC 9112, section 3.2.2
        super().on_headers_complete()
        # Only now: what is raised there is no fault of the request before, which may still be in work.
        self._in_headers = self._body_complete = False
        if self.cycle is not None:
            self.cycle.transport = self._answers  # type: ignore[assignment]
            if self._services is not None and self._services.stopping.now:
                self.cycle.keep_alive = False  # the next request goes to another gateway

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unended_bytes = 0
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
        if self.cycle.response_complete:  # and now the connection is idle
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

    def write(self, pieces: list[bytes]) -> None:
        """Write, if that can be done, and see to it that it is read."""
        # uvloop raises when the caller is gone, before it says so, and every loop does after the end of writing.
        if self.transport.is_closing() or self._lingering:
            return
        self.transport.writelines(pieces)
        self._written_bytes += sum(map(len, pieces))
        if self._stalled_timer is None:
            self._watch_reading()

    def end(self) -> None:
        """Close the connection after an answer, and throw away what is left of the request's body first."""
        if self._body_complete or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._end_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _watch_reading(self) -> None:
        """Look again later whether the caller has read anything, as long as there is something to read."""
        self._stalled_timer = None
        if left := self.transport.get_write_buffer_size():
            read = self._written_bytes - left
            self._stalled_timer = self.loop.call_later(STALLED_ANSWER_SECONDS, self._end_stalled, read)

    def _end_stalled(self, read: int) -> None:
        """End the connection if its caller has read no more than that many bytes."""
        if self._written_bytes - self.transport.get_write_buffer_size() > read:
            self._watch_reading()
        else:
            self.transport.abort()

    def _count(self, size: int) -> None:
        self._unended_bytes = 0
        self._field_bytes += size
        if self._field_bytes > MAX_HEADER_BYTES:
            raise _too_large()

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

    def _stop_awaiting_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

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
        path = ""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._body_complete or self.pipeline or self.cycle.response_started:
                self.transport.close()  # what is refused follows a request that is still in work
                return
            # It is the body of this very request, which ends as if its caller had gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            path = self.cycle.scope["path"]
        response = error_response(path, error, {"Connection": "close"})
        lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.write([b"\r\n".join(lines), b"\r\n\r\n", bytes(response.body)])
        self._body_complete = False  # whatever it is, more of it may come
        self.end()


def _too_large() -> errors.HeadersTooLarge:
    return errors.HeadersTooLarge(f"The headers are larger than {MAX_HEADER_BYTES:,} bytes.")


class _AnswerTransport:
    """The transport as an answer sees it, which may write and then close."""

    def __init__(self, protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
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
        if pieces:
            self._protocol.write(pieces)
