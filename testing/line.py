"""A line between a browser and the gateway, as slow as wanted, that counts what goes over it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from testing.polling import until

PIECE_BYTES = 2048
BUFFER_BYTES, SEGMENT_BYTES = 4096, 536
"""Small, because what the system takes in at once looks to the browser as if it had been sent. Segments of loopback are
64 KB, and the system keeps twenty of them for a connection."""


@dataclass
class Line:
    """What went over the line so far.

    Attributes:
        bytes_per_second: In each direction, for all connections together; None for as fast as it can.
        requests: First lines of HTTP requests, as far as these begin with a new piece.
        sent: Bytes from the browser.
        received: Bytes to the browser, with their heads.
    """

    bytes_per_second: float | None = None
    url: str = ""
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    _free: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})

    async def _connected(self, port: int, near: Streams) -> None:
        far = await asyncio.open_connection("127.0.0.1", port)
        ways = (self._passed_on(near[0], far[1], up=True), self._passed_on(far[0], near[1], up=False))
        try:
            await asyncio.gather(*ways)
        finally:
            for _, writer in (near, far):
                writer.close()

    async def _passed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                if up:
                    self.sent += len(piece)
                    if piece.startswith((b"GET ", b"POST ")):
                        self.requests.append(piece.split(b"\r\n", 1)[0].decode())
                else:
                    self.received += len(piece)
                if self.bytes_per_second:
                    now = asyncio.get_running_loop().time()
                    self._free[up] = max(now, self._free[up]) + len(piece) / self.bytes_per_second
                    await asyncio.sleep(self._free[up] - now)
                writer.write(piece)
                await writer.drain()
            writer.write_eof()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def running_line(port: int, bytes_per_second: float | None = None) -> Iterator[Line]:
    """A line to a port of this machine, in a thread; its `url` is what a browser opens."""
    line = Line(bytes_per_second)
    listening = socket.create_server(("127.0.0.1", 0))
    if bytes_per_second:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    line.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):  # at the end, which asyncio would report as an error
                await line._connected(port, (reader, writer))

        server = await asyncio.start_server(connected, sock=listening, limit=BUFFER_BYTES)
        await ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(ended.set)
        until(lambda: not thread.is_alive(), "the line has ended")
        loop.close()
