"""The main loop of a worker process: run one job after the other until the socket closes."""

from __future__ import annotations

import errno
import resource
import socket
import sys
import time
import traceback
from collections.abc import Sequence

from gateway.errors import GatewayError
from gateway.images import ImageError
from gateway.workers.jobs import JOBS
from gateway.workers.limits import Limits
from gateway.workers.messages import HEADER_LENGTH, Buffer, Message, pack, unpack_header

RECYCLE_BYTES = 96 * 2**20
"""A worker whose peak memory has grown by more than this ends after its reply, so that idle workers hold little
memory."""

OUT_OF_MEMORY, CRASHED = "out_of_memory", "crashed"
"""Codes of failures that are no `GatewayError`: the job exceeded the memory limit, or it has a bug."""

OUT_OF_MEMORY_STATUS = errno.ENOMEM
"""Exit status of a worker that ran out of memory outside of the job: while it read the request or wrote the reply."""


def serve(connection: socket.socket, limits: Limits) -> None:
    """Answer jobs on a socket until its other end is closed.

    Raises:
        MemoryError: A request or a reply does not fit into memory. The worker must end, because part of it may still be
            in the socket.
    """
    limits.apply()
    at_start = _peak_bytes()
    while True:
        try:
            request = _read(connection)
        except EOFError:
            return
        limits.begin_job()
        header, buffers = _run(request)
        del request
        ends = _peak_bytes() - at_start > RECYCLE_BYTES
        for piece in pack({**header, "ends": ends, "cpu_seconds": time.process_time()}, buffers):
            connection.sendall(piece)
        if ends:
            return
        del buffers


def _run(request: Message) -> tuple[dict[str, object], Sequence[Buffer]]:
    header = request.header
    try:
        job = JOBS[str(header["job"])]
        arguments = header["arguments"]
        assert isinstance(arguments, dict)
        reply = job(arguments, list(request.buffers))
        return {"result": reply.header}, reply.buffers
    except (GatewayError, ImageError) as error:
        extra = error.extra if isinstance(error, GatewayError) else {}
        return {"error": error.code, "detail": str(error), "extra": extra}, ()
    except MemoryError:
        return {"error": OUT_OF_MEMORY}, ()
    except Exception:
        return {"error": CRASHED, "traceback": traceback.format_exc()}, ()


def _read(connection: socket.socket) -> Message:
    (length,) = HEADER_LENGTH.unpack(_exactly(connection, HEADER_LENGTH.size))
    header, sizes = unpack_header(_exactly(connection, length))
    return Message(header, [_exactly(connection, size) for size in sizes])


def _exactly(connection: socket.socket, count: int) -> bytes:
    """That many bytes; raises EOFError if the other end closes first."""
    received = connection.recv(count, socket.MSG_WAITALL) if count else b""
    if len(received) < count:
        raise EOFError
    return received


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
