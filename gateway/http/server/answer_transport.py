"""The transport of a connection as its requests see it: they write answers, and end the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

STALLED_ANSWER_SECONDS = 30.0
"""How long a client may read nothing of an answer. This is detected within twice the time."""


class AnswerTransport:
    """Writes answers, and aborts a connection whose client has stopped reading them. `end` is called to close it."""

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None]) -> None:
        self.close = end
        self.is_closing = transport.is_closing
        self._transport = transport
        self._ended = False
        self._written_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Write, unless the connection is at its end."""
        # uvloop raises if the client has disconnected unnoticed; every loop raises after write_eof.
        if self._ended or self.is_closing():
            return
        self._transport.write(data)
        self._written_bytes += len(data)
        if self._timer is None:
            self._watch_reading()

    def write_eof(self) -> None:
        """Tell the client that nothing more will be written."""
        self._ended = True
        self._transport.write_eof()

    def stop_watching(self) -> None:
        """Stop watching whether the client reads."""
        if self._timer is not None:
            self._timer.cancel()

    def _watch_reading(self) -> None:
        """Check again later whether the client has read anything, as long as there is something to read."""
        self._timer = None
        if left := self._transport.get_write_buffer_size():
            read = self._written_bytes - left
            self._timer = asyncio.get_running_loop().call_later(STALLED_ANSWER_SECONDS, self._end_stalled, read)

    def _end_stalled(self, read: int) -> None:
        """Abort the connection if the client has read no more than that many bytes."""
        if self._written_bytes - self._transport.get_write_buffer_size() > read:
            self._watch_reading()
        else:
            self._transport.abort()
