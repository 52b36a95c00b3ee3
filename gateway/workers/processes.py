"""The worker processes of a pool: forked when they are needed, kept for the next job, and killed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import Overloaded
from gateway.workers.fork_server import ForkServer, ForkServerGone
from gateway.workers.limits import Limits
from gateway.workers.messages import HEADER_LENGTH, MAX_REPLY_HEADER_BYTES, Message, Piece, unpack_header

logger = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
"""How long a surplus worker stays idle before it ends."""

READ_LIMIT = 2**20
"""Bytes of a reply that are buffered before the worker has to wait."""


class WorkerEnded(Exception):
    """A worker process ended during a job, or sent an invalid reply."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker process.

    Attributes:
        reader: Replies.
        writer: Jobs.
        replies: Whether its reply has begun to arrive.
        since: When its job began or, if it is idle, ended, on the monotonic clock.
        end: Once it is being killed: how it ended, as `ForkServer.end` returns it.
    """

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    replies: bool = False
    since: float = field(default_factory=time.monotonic)
    end: asyncio.Task[int | None] | None = None
    _cpu_seconds: float = 0.0
    """CPU time that it had used before its current job."""

    async def exchange(self, request: Sequence[Piece], on_reply: Callable[[int], None] | None = None) -> Message:
        """Send a job and read the reply. `on_reply` is called with the size of its buffers, before they are read.

        Raises:
            WorkerEnded: The worker is gone.
            GatewayError: As `on_reply` raises it.
        """
        self.replies = False
        try:
            self.writer.writelines(request)
            await self.writer.drain()
            (length,) = HEADER_LENGTH.unpack(await self.reader.readexactly(HEADER_LENGTH.size))
            if length > MAX_REPLY_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header, sizes = unpack_header(await self.reader.readexactly(length))
            self.replies = True
            if on_reply is not None:
                on_reply(sum(sizes))
            return Message(header, [await self.reader.readexactly(size) for size in sizes])
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError) as error:
            raise WorkerEnded from error  # the last two: an invalid reply

    def job_seconds(self) -> float:
        """CPU time that its job has used so far; if that is not known, the time since it began."""
        if not sys.platform.startswith("linux"):
            return time.monotonic() - self.since
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0.0
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") - self._cpu_seconds

    def job_ended(self, cpu_seconds: float) -> float:
        """Set its total CPU time; returns that of its last job."""
        before, self._cpu_seconds = self._cpu_seconds, cpu_seconds
        return cpu_seconds - before


class WorkerProcesses:
    """Starts workers on demand, keeps some idle ones for the next jobs, and ends further ones after `IDLE_SECONDS`."""

    def __init__(self, fork_server: ForkServer, limits: Limits, kept: int) -> None:
        self._fork_server = fork_server
        self._limits = limits
        self._kept = kept
        self._idle: list[WorkerProcess] = []
        self._background: set[asyncio.Task[WorkerProcess] | asyncio.Task[int | None]] = set()
        self._spare: list[asyncio.Task[WorkerProcess]] = []
        """Starts in progress whose callers have gone. The next callers take them over, so that callers who come and go
        at once do not make starts pile up."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def warm_up(self) -> None:
        """Start the workers that are kept, so that they are ready for the first jobs."""
        with suppress(Overloaded):
            for worker in [await self._fresh() for _ in range(self._kept - len(self._idle))]:
                self.keep(worker)

    async def take(self) -> WorkerProcess:
        """An idle worker, or a new one.

        Raises:
            Overloaded: The system allows no further process.
        """
        while self._idle:
            worker = self._idle.pop()
            worker.since = time.monotonic()
            if not worker.reader.at_eof():
                return worker
            self.end(worker)  # it was killed while it was idle
        return await self._fresh()

    def keep(self, worker: WorkerProcess) -> None:
        """Keep a worker for the next job, unless it is being killed."""
        if self._closed or worker.end is not None:
            self.end(worker)
            return
        self._idle.append(worker)
        worker.since = time.monotonic()
        if len(self._idle) > self._kept and self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    def end(self, worker: WorkerProcess) -> asyncio.Task[int | None]:
        """Kill a worker in the background. The task returns how it ended: see `ForkServer.end`."""
        if worker.end is None:
            worker.writer.close()
            worker.end = asyncio.create_task(asyncio.to_thread(self._fork_server.end, worker.pid))
            self._background.add(worker.end)
            worker.end.add_done_callback(self._background.discard)
        return worker.end

    async def close(self) -> None:
        """Kill all idle workers. Jobs in progress must have been cancelled."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while self._idle or self._background:
            while self._idle:
                self.end(self._idle.pop())
            await asyncio.wait(self._background)

    def _end_idle(self) -> None:
        """End surplus workers that have been idle for a while; the one used last is at the end of the list."""
        self._idle_timer = None
        while len(self._idle) > self._kept and not self._closed:
            left = IDLE_SECONDS - (time.monotonic() - self._idle[0].since)
            if left > 0:
                self._idle_timer = asyncio.get_running_loop().call_later(left, self._end_idle)
                return
            self.end(self._idle.pop(0))

    async def _fresh(self) -> WorkerProcess:
        """A new worker. If the caller is gone meanwhile, it is for the next job."""
        if self._spare:
            start = self._spare.pop()
        else:
            start = asyncio.create_task(self._start())
            self._background.add(start)
            start.add_done_callback(self._background.discard)
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            self._spare.append(start)
            start.add_done_callback(self._keep_spare)
            raise

    def _keep_spare(self, start: asyncio.Task[WorkerProcess]) -> None:
        """Keep a worker that nobody has taken over while it was started."""
        if start in self._spare:
            self._spare.remove(start)
            if not start.cancelled() and start.exception() is None:
                self.keep(start.result())

    async def _start(self) -> WorkerProcess:
        try:
            pid, connection = await asyncio.to_thread(self._fork_server.fork, self._limits)
        except (OSError, ForkServerGone):
            logger.exception("cannot start a worker process")
            raise Overloaded("The gateway cannot start another worker process. Try again later.") from None
        reader, writer = await asyncio.open_connection(sock=connection, limit=READ_LIMIT)
        return WorkerProcess(pid, reader, writer)
