"""An HTTP/2 client for gRPC calls that no gRPC library makes: silent ones, and ones whose answer is never read."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

from testing.polling import DEADLINE_SECONDS

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
DEFAULT_WINDOW = 65_535
MAX_FRAME = 16_384


class Connection:
    """A connection that sends what it is told to, as far as flow control allows.

    Args:
        address: Of the server, as host:port.
        window: Bytes of answers that the server may send on each call.
    """

    def __init__(self, address: str, window: int = DEFAULT_WINDOW) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), DEADLINE_SECONDS)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window))
        self._received = b""
        self._answered = 0
        """Number of pings that the server has answered."""
        self._next = 1
        self._stream_window = self.window = DEFAULT_WINDOW
        """Bytes that may still be sent on all calls together."""
        self.windows: dict[int, int] = {}
        """Bytes that may still be sent on each call that has not ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def call(self, path: str, metadata: tuple[tuple[str, str], ...] = ()) -> int:
        """Begin a call; returns its number."""
        number, self._next = self._next, self._next + 2
        fields = [(":path", path), (":authority", "a"), ("te", "trailers"), ("content-type", "application/grpc")]
        block = b"\x83\x86" + b"".join(_literal(*field) for field in [*fields, *metadata])  # POST, http
        self._send(HEADERS, END_HEADERS, number, block)
        self.windows[number] = self._stream_window
        return number

    def send(self, number: int, content: bytes, *, end: bool = False) -> int:
        """Send as much of some content as flow control allows now; returns how many bytes."""
        count = min(len(content), self.window, self.windows.get(number, 0), MAX_FRAME)
        if count or end:
            self._send(DATA, END_STREAM if end and count == len(content) else 0, number, content[:count])
            self.window -= count
            self.windows[number] -= count
        return count

    def read_until(self, condition: Callable[[], bool]) -> bool:
        """Process what the server sends until a condition holds; False if the server is silent too long or hangs up."""
        try:
            while not condition():
                self._read_frame()
        except (TimeoutError, ConnectionError):
            return False
        return True

    def catch_up(self) -> None:
        """Process everything that the server has sent until now. Servers take offence at many pings, so call it rarely.

        Raises:
            ConnectionError: The server hangs up.
        """
        answered = self._answered
        self._send(PING, 0, 0, bytes(8))
        if not self.read_until(lambda: self._answered > answered):
            raise ConnectionError("the server does not answer")

    def _read_frame(self) -> None:
        self._receive(9)
        size, kind, flags = int.from_bytes(self._received[:3]), self._received[3], self._received[4]
        number = int.from_bytes(self._received[5:9]) & 0x7FFF_FFFF
        self._receive(9 + size)
        content, self._received = self._received[9 : 9 + size], self._received[9 + size :]
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._send(kind, ACK, 0, content if kind == PING else b"")
        elif kind == PING:
            self._answered += 1
        if kind == SETTINGS:
            for name, value in struct.iter_unpack(">HI", content):
                if name == INITIAL_WINDOW_SIZE:
                    change, self._stream_window = value - self._stream_window, value
                    self.windows = {one: window + change for one, window in self.windows.items()}
        elif kind == WINDOW_UPDATE and number == 0:
            self.window += int.from_bytes(content)
        elif kind == WINDOW_UPDATE and number in self.windows:
            self.windows[number] += int.from_bytes(content)
        elif kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.windows.pop(number, None)

    def _send(self, kind: int, flags: int, number: int, content: bytes) -> None:
        head = struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", number)
        self._socket.sendall(head + content)

    def _receive(self, count: int) -> None:
        """Receive until so many bytes are there. What has arrived stays there if it takes too long."""
        while len(self._received) < count:
            piece = self._socket.recv(MAX_FRAME)
            if not piece:
                raise ConnectionError("the server closed the connection")
            self._received += piece


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def _literal(name: str, value: str) -> bytes:
    """A header field that is not indexed (RFC 7541, section 6.2.2)."""
    return b"\0" + b"".join(bytes([len(one)]) + one.encode() for one in (name, value))
