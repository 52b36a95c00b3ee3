"""A TCP relay to a model server that can freeze, like a hanging host, or break, like a crashed one."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

PING = b"\0\0\x08\x06\0\0\0\0\0"
"""Header of an HTTP/2 PING frame without the ACK flag: length 8, type 6, no flags, stream 0."""


class Relay:
    """Forwards bytes between clients and an address.

    Attributes:
        address: Address of the relay.
        frozen: While set, the system accepts connections, but nothing is forwarded.
        broken: Once set, all connections are reset and no more are accepted.
        pinged: Times of pings from clients, by `time.monotonic`.
    """

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.frozen = threading.Event()
        self.broken = threading.Event()
        self.pinged: list[float] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Relay]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self.broken.set()
            thread.join()

    def _run(self) -> None:
        others: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            while not self.broken.is_set():
                if self.frozen.is_set():
                    self.broken.wait(0.01)
                    continue
                for key, _ in selector.select(0.01):
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket)
                    if ready is self._listening:
                        near, far = ready.accept()[0], socket.create_connection(self._target)
                        others |= {near: far, far: near}
                        for connection in (near, far):
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                            selector.register(connection, selectors.EVENT_READ)
                    elif ready in others and not self._passed_on(ready, others[ready]):
                        for connection in (ready, others[ready]):
                            selector.unregister(connection)
                            del others[connection]
                            connection.close()
            for connection in (self._listening, *others):
                connection.close()

    def _passed_on(self, source: socket.socket, target: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            data = source.recv(2**16)
            if PING in data and target.getpeername() == self._target:
                self.pinged.append(time.monotonic())
            target.sendall(data)
            return bool(data)
        return False
