"""Hostile callers, and callers with a bad connection: ``python -m testing.faults.hostile WHAT URL``.

They run in a process of their own, so that honest callers do not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import selectors
import socket
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from urllib.parse import urlsplit

import httpx
from PIL import Image

from gateway.__main__ import raise_open_files_limit
from testing import TESTDATA
from testing.faults.grpc_load import cancelled, inferred
from testing.faults.load import BREED
from testing.photos import noisy_photo, slow_png

MEGABYTE = 2**20


async def raw_post(url: str, pieces: Iterable[bytes], length: int, pause: float = 0.0, *, hang_up: bool = False) -> int:
    """Post a body piece by piece over its own socket.

    Returns:
        The status; 0 if the connection ended without an answer.
    """
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        head = f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode())
        answer = asyncio.create_task(reader.readline())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
            if answer.done():
                break
        if hang_up and not answer.done():
            answer.cancel()
            return 0
        line = await asyncio.wait_for(answer, 60)
        return int(line.split()[1]) if line else 0
    except (ConnectionError, TimeoutError):
        return 0
    finally:
        writer.close()


async def slow_uploads(url: str, count: int) -> Counter[int]:
    """Slow uploads of ten bytes per second."""
    return await asyncio.to_thread(_drip, url, count)


def _drip(url: str, count: int) -> Counter[int]:
    """Without a task and a timer for each upload, which would use CPU time that the measured programs need."""
    place = urlsplit(url)
    head = (
        f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {MEGABYTE}\r\n\r\n".encode()
    )
    statuses: Counter[int] = Counter()
    with contextlib.ExitStack() as life, selectors.DefaultSelector() as answers:
        for _ in range(count):
            connection = life.enter_context(socket.create_connection((place.hostname or "", place.port or 80)))
            connection.sendall(head)
            answers.register(connection, selectors.EVENT_READ)
        due, end = time.monotonic(), time.monotonic() + 60
        while (dripping := answers.get_map()) and due < end:
            for key in list(dripping.values()):
                with contextlib.suppress(ConnectionError):
                    key.fileobj.send(b"x")  # type: ignore[union-attr]
            due += 0.1
            while (left := due - time.monotonic()) > 0:
                for key, _ in answers.select(left):
                    answers.unregister(key.fileobj)
                    statuses[_status(key.fileobj)] += 1  # type: ignore[arg-type]
        statuses[0] += len(dripping)
    return +statuses


def _status(connection: socket.socket) -> int:
    with contextlib.suppress(ConnectionError):
        line = connection.recv(64).split()
        return int(line[1]) if line else 0
    return 0


async def hang_ups(url: str, count: int) -> Counter[int]:
    """Callers that disconnect, some during their upload and some right after it."""
    body = noisy_photo("red")
    statuses: Counter[int] = Counter()
    for start in range(0, count, 20):
        half = ([body[: len(body) // 2]] if number % 2 else [body] for number in range(start, start + 20))
        statuses.update(await asyncio.gather(*(raw_post(url, part, len(body), 0.01, hang_up=True) for part in half)))
    return statuses


async def huge_uploads(url: str, count: int) -> Counter[int]:
    """Uploads of 100 MB, six at a time."""
    gate = asyncio.Semaphore(6)

    async def upload() -> int:
        async with gate:
            return await raw_post(url, (b"x" * MEGABYTE for _ in range(100)), 100 * MEGABYTE)

    return Counter(await asyncio.gather(*(upload() for _ in range(count))))


async def posted(url: str, bodies: Iterable[bytes], at_once: int, address: str | None = None) -> Counter[int]:
    """Post complete bodies, several at a time, optionally from a specific address of this machine."""
    gate = asyncio.Semaphore(at_once)
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None), local_address=address)
    async with httpx.AsyncClient(base_url=url, timeout=60, transport=transport) as client:

        async def post(body: bytes) -> int:
            async with gate:
                try:
                    return (await client.post(BREED, content=body)).status_code
                except httpx.TransportError:
                    return 0

        return Counter(await asyncio.gather(*(post(body) for body in bodies)))


def corrupt_files(count: int) -> Iterator[bytes]:
    """Photos that are truncated, have flipped bits or swapped parts, and noise. Deterministic."""
    chance = random.Random(7)  # noqa: S311, not for secrets
    good = [noisy_photo("green", size=(200, 150), encoding=kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")]
    for number in range(count):
        body = bytearray(good[number % len(good)])
        match number % 4:
            case 0:
                del body[chance.randrange(len(body)) :]
            case 1:
                for _ in range(20):
                    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
            case 2:
                middle = chance.randrange(len(body))
                body = body[:12] + body[middle:] + body[12:middle]
            case _:
                body[chance.randrange(16) :] = chance.randbytes(500)
        yield bytes(body)


def hostile_files() -> list[bytes]:
    """Small files that are expensive to decode: from the test data if it exists, otherwise a generated one."""
    files = [path.read_bytes() for path in sorted((TESTDATA / "hostile").glob("*.*"))]
    return files or [slow_png(5_000)]


def bombs() -> list[bytes]:
    """Decompression bombs: images far over the limit, and just under it."""
    return [png(30_000, 30_000), png(5_400, 5_400), webp(5_400), gif(60_000)]


def png(width: int, height: int) -> bytes:
    """A small, black PNG file of any dimensions."""
    squeeze = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    rows = height if width * height < 30_000_000 else 100  # larger ones are rejected before their end
    data = b"".join(squeeze.compress(row) for _ in range(rows)) + squeeze.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side)).save(stream, "WEBP", lossless=True, quality=0, method=0)
    return stream.getvalue()


def gif(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0)


def burst(count: int) -> Iterator[bytes]:
    content = noisy_photo("blue", size=(200, 150))
    return (content for _ in range(count))


WORK = {
    "hang-ups": lambda url: hang_ups(url, 300),
    "slow uploads": lambda url: slow_uploads(url, 200),
    "corrupt files": lambda url: posted(url, corrupt_files(1000), 16),
    "huge uploads": lambda url: huge_uploads(url, 30),
    "bombs": lambda url: posted(url, bombs() * 6, 12),
    "burst": lambda url: posted(url, burst(2560), 2560),
}


GRPC_WORK = {
    "hang-ups": lambda address: cancelled(address, noisy_photo("red"), 300),
    "corrupt files": lambda address: inferred(address, corrupt_files(1000), 16),
    "bombs": lambda address: inferred(address, bombs() * 6, 12),
    "burst": lambda address: inferred(address, burst(2560), 2560),
}
"""The same over gRPC, where there is a port."""


def work(what: str, url: str) -> Coroutine[object, object, Counter[int]]:
    """The work of an entry."""
    scheme, _, address = url.partition("://")
    return GRPC_WORK[what](address) if scheme == "grpc" else WORK[what](url)


async def apart(what: str, url: str, begin: Callable[[], None]) -> Counter[int]:
    """Run an entry of `WORK` or `GRPC_WORK` in another process, and return the statuses.

    Args:
        what: The entry.
        url: The gateway: `http://` for `WORK`, `grpc://` for `GRPC_WORK`.
        begin: Called when it starts.
    """
    command = [sys.executable, "-m", "testing.faults.hostile", what, url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    begin()
    out, _ = await process.communicate()
    return Counter({int(status): count for status, count in json.loads(out).items()})


if __name__ == "__main__":
    raise_open_files_limit()
    print(flush=True)  # noqa: T201 - ready: the time for imports does not count
    sys.stdout.write(json.dumps(asyncio.run(work(*sys.argv[1:]))))
