"""A pool of worker processes that callers use in turns."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    ImageTooLarge,
    InternalError,
    InvalidImage,
    Overloaded,
    UploadTooLarge,
    error_from_code,
)
from gateway.workers.fork_server import ForkServer, ForkServerGone
from gateway.workers.limits import OVERTIME_NICENESS, Limits
from gateway.workers.messages import HEADER_LENGTH, Buffer, Message, Piece, pack, reply_header_length, unpack_header
from gateway.workers.turns import Turn, Turns
from gateway.workers.worker import CRASHED, OUT_OF_MEMORY, OUT_OF_MEMORY_STATUS

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.05
"""CPU time after which a job makes room for waiting jobs. A photo from a phone takes half of it."""

IDLE_SECONDS = 10.0
"""How long a surplus worker stays idle before it ends."""

READ_LIMIT = 2**20
"""Bytes of a reply that are buffered before the worker has to wait."""


class WorkerEnded(Exception):
    """A worker process ended during a job, or sent an invalid reply."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs a pool runs at once.

    Attributes:
        slots: Number of jobs that run at the normal priority of the pool.
        overtime: Number of jobs that may continue beside them after their time slice.
        patience_seconds: CPU time after which a job may be killed in favour of waiting jobs.
        kept: Number of idle workers to keep. Others end after `IDLE_SECONDS`.
    """

    slots: int
    overtime: int
    patience_seconds: float
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """How a pool reports failures to callers.

    Attributes:
        subject: What callers send, such as "image".
        out_of_memory: Raised if a job needs more memory than a worker may use.
        killed: Raised if the system killed a worker that exceeded its limits.
        crashed: Raised if a worker crashed; None if only lack of memory makes it crash.
    """

    subject: str
    out_of_memory: type[GatewayError]
    killed: type[GatewayError]
    crashed: type[GatewayError] | None


SMALL_IMAGES = Work("image", ImageTooLarge, InvalidImage, InvalidImage)
"""`ImageTooLarge` is tried again in a large worker, `InvalidImage` is not.

A decoder that runs out of memory raises `InvalidImage` too: the image is of an accepted size, so the file is not what
its header says."""

LARGE_IMAGES = Work("image", ImageTooLarge, ImageTooLarge, InvalidImage)
TENSORS = Work("request", UploadTooLarge, UploadTooLarge, None)
"""orjson crashes where memory runs out."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process.

    Attributes:
        pid: Its process id.
        reader: Replies.
        writer: Jobs.
        cpu_seconds: CPU time that it had used at the end of its last job.
    """

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    cpu_seconds: float = 0.0
    idle_since: float = 0.0


@dataclass(slots=True, eq=False)
class _Running:
    """A job in progress.

    Attributes:
        worker: The worker.
        started: When it began, on the monotonic clock.
        in_overtime: Whether it has given up its slot.
        timer: The next check of its CPU time.
        displaced: Whether it was killed to make room.
    """

    worker: _Worker
    started: float = field(default_factory=time.monotonic)
    in_overtime: bool = False
    timer: asyncio.TimerHandle | None = None
    displaced: bool = False

    def cpu_seconds(self) -> float:
        """CPU time that the job has used; where the system does not tell, the time since it began."""
        used = cpu_seconds(self.worker.pid)
        return time.monotonic() - self.started if used is None else used - self.worker.cpu_seconds


class WorkerPool:
    """A pool of workers, started on demand and replaced when they end.

    A job runs until it is done, its deadline passes or its caller hangs up. In the last two cases its worker is killed.
    A job that has used `SLICE_SECONDS` of CPU time while others wait goes into overtime: it gives up its slot to
    another job and continues at a lower priority. If no more jobs may be in overtime, the one that has used the most
    CPU time is killed, provided that it has used more than `Capacity.patience_seconds`.

    Args:
        fork_server: Forks the workers.
        capacity: How many jobs run at a time.
        limits: Limits of each worker.
        work: How failures are reported.
    """

    def __init__(self, fork_server: ForkServer, capacity: Capacity, limits: Limits, work: Work) -> None:
        self._fork_server = fork_server
        self._limits = limits
        self._work = work
        self._capacity = capacity
        self._turns = Turns(capacity.slots)
        self._idle: list[_Worker] = []
        self._overtime: list[_Running] = []
        self._background: set[asyncio.Task[_Worker] | asyncio.Task[int | None]] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(
        self,
        job: str,
        arguments: Mapping[str, object],
        buffers: Sequence[Buffer],
        turn: Turn,
        deadline: Deadline,
        on_start: Callable[[], None] | None = None,
        on_reply: Callable[[int], None] | None = None,
    ) -> Message:
        """Run a job.

        Args:
            job: Name of the job in `gateway.workers.jobs.JOBS`.
            arguments: JSON arguments of the job.
            buffers: Buffers of the job, each in pieces.
            turn: Caller and request, for taking turns.
            deadline: When the worker is killed.
            on_start: Called when a worker starts the job.
            on_reply: Called with the number of bytes in the buffers of the reply, before they are read. If it raises an
                error, they are not.

        Raises:
            GatewayError: As the job raises it, or as `Work` says.
            DeadlineExceeded: The job was not done in time.
            Overloaded: The job took too long while others were waiting.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._turns.acquire(turn)
                running: _Running | None = None
                try:
                    running = _Running(await self._worker())
                    if on_start is not None:
                        on_start()
                    return await self._run(running, pack({"job": job, "arguments": arguments}, buffers), on_reply)
                finally:
                    if running is None or not running.in_overtime:
                        self._turns.release()
        except TimeoutError:
            raise DeadlineExceeded("The upload was not processed before the deadline of the request.") from None

    async def warm_up(self) -> None:
        """Start the workers that are kept, so that they are ready for the first jobs."""
        with suppress(Overloaded):
            for worker in [await self._fresh() for _ in range(self._capacity.kept - len(self._idle))]:
                self._rest(worker)

    async def close(self) -> None:
        """Kill all idle workers. Jobs in progress must have been cancelled."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while self._idle or self._background:
            while self._idle:
                self._end(self._idle.pop())
            await asyncio.wait(self._background)

    async def _run(
        self, running: _Running, request: Sequence[Piece], on_reply: Callable[[int], None] | None
    ) -> Message:
        worker = running.worker
        self._watch(running)
        survives = False
        try:
            reply = await _exchange(worker, request, on_reply)
            survives = reply.header.get("ends") is False
            worker.cpu_seconds = cast(float, reply.header.get("cpu_seconds", 0.0))
        except (WorkerEnded, ConnectionError) as error:
            raise await self._cause_of_death(running) from error
        finally:
            if running.timer is not None:
                running.timer.cancel()
            if running.in_overtime:
                self._overtime.remove(running)
            if survives and not (running.in_overtime or running.displaced or self._closed):
                self._rest(worker)
            elif not running.displaced:
                self._end(worker)
        return self._result(reply)

    def _rest(self, worker: _Worker) -> None:
        """Keep a worker for the next job."""
        self._idle.append(worker)
        worker.idle_since = time.monotonic()
        if len(self._idle) > self._capacity.kept and self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        """End surplus workers that have been idle for a while; the one used last is at the end of the list."""
        self._idle_timer = None
        while len(self._idle) > self._capacity.kept and not self._closed:
            left = IDLE_SECONDS - (time.monotonic() - self._idle[0].idle_since)
            if left > 0:
                self._idle_timer = asyncio.get_running_loop().call_later(left, self._end_idle)
                return
            self._end(self._idle.pop(0))

    async def _worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if not worker.reader.at_eof():
                return worker
            self._end(worker)  # it was killed while it was idle
        return await self._fresh()

    async def _fresh(self) -> _Worker:
        """A new worker; one that nobody waits for any more is kept for the next job."""
        start = asyncio.create_task(self._start())
        self._background.add(start)
        start.add_done_callback(self._background.discard)
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            start.add_done_callback(self._keep_started)  # it is on its way, and the next job can have it
            raise

    def _keep_started(self, start: asyncio.Task[_Worker]) -> None:
        if not start.cancelled() and start.exception() is None:
            self._rest(start.result())

    async def _start(self) -> _Worker:
        try:
            pid, connection = await asyncio.to_thread(self._fork_server.fork, self._limits)
        except (OSError, ForkServerGone):
            logger.exception("cannot start a worker process")
            raise Overloaded("The gateway cannot start another worker process. Try again later.") from None
        reader, writer = await asyncio.open_connection(sock=connection, limit=READ_LIMIT)
        return _Worker(pid, reader, writer)

    def _watch(self, running: _Running) -> None:
        running.timer = asyncio.get_running_loop().call_later(SLICE_SECONDS, self._look_at, running)

    def _look_at(self, running: _Running) -> None:
        """Make room for waiting jobs if a job has used its time slice."""
        if not self._turns.waiting or running.cpu_seconds() < SLICE_SECONDS:
            self._watch(running)
        elif len(self._overtime) < self._capacity.overtime:
            self._put_into_overtime(running)
        else:
            longest = max([running, *self._overtime], key=_Running.cpu_seconds)
            if longest.displaced or longest.cpu_seconds() < self._capacity.patience_seconds:
                self._watch(running)
                return
            longest.displaced = True
            self._end(longest.worker)
            if longest is not running:
                self._watch(running)  # there is room for it in overtime when that one is gone

    def _put_into_overtime(self, running: _Running) -> None:
        running.in_overtime = True
        self._overtime.append(running)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, running.worker.pid, OVERTIME_NICENESS)
        self._turns.release()

    def _end(self, worker: _Worker) -> None:
        """Kill a worker in the background."""
        worker.writer.close()
        task = asyncio.create_task(asyncio.to_thread(self._fork_server.end, worker.pid))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _cause_of_death(self, running: _Running) -> GatewayError:
        """The error for a job whose worker has ended."""
        subject = self._work.subject
        if running.displaced:
            return Overloaded(f"This {subject} takes too long to process while others are waiting. Try again later.")
        running.displaced = True  # its end is waited for here
        running.worker.writer.close()
        status = await asyncio.to_thread(self._fork_server.end, running.worker.pid)
        logger.warning("a worker process ended with status %s during a job", status)
        if status is None:
            return Overloaded(f"The process that worked on this {subject} was ended. Send it again.")
        if status == -signal.SIGXCPU:
            return self._work.killed(
                f"Processing the {subject} takes more than {self._limits.cpu_seconds} s of CPU time."
            )
        if status == -signal.SIGKILL:
            return self._work.killed(self._needs_more_memory())
        if status == OUT_OF_MEMORY_STATUS or self._work.crashed is None:
            return self._work.out_of_memory(self._needs_more_memory())
        return self._work.crashed(f"The {subject} is corrupt and cannot be processed.")

    def _result(self, reply: Message) -> Message:
        header = reply.header
        code = header.get("error")
        if code is None:
            result = header["result"]
            assert isinstance(result, dict)
            return Message(result, reply.buffers)
        if code == OUT_OF_MEMORY:
            raise self._work.out_of_memory(self._needs_more_memory())
        if code == CRASHED:
            logger.error("a job failed: %s", header.get("traceback"))
            raise InternalError("Internal error. The gateway's log has the reason under this request ID.")
        extra = header.get("extra")
        raise error_from_code(str(code), str(header.get("detail", "")), extra if isinstance(extra, dict) else {})

    def _needs_more_memory(self) -> str:
        return f"The {self._work.subject} needs more memory to process than a request may use."


async def _exchange(
    worker: _Worker, request: Sequence[Piece], on_reply: Callable[[int], None] | None = None
) -> Message:
    """Send a job and read the reply.

    Raises:
        WorkerEnded, ConnectionError: The worker is gone.
    """
    worker.writer.writelines(request)
    try:
        await worker.writer.drain()
        length = reply_header_length(await worker.reader.readexactly(HEADER_LENGTH.size))
        header, sizes = unpack_header(await worker.reader.readexactly(length))
        if on_reply is not None:
            on_reply(sum(sizes))
        return Message(header, [await worker.reader.readexactly(size) for size in sizes])
    except (asyncio.IncompleteReadError, ValueError, KeyError) as error:  # the last two: it does not speak as it should
        raise WorkerEnded from error


def cpu_seconds(pid: int) -> float | None:
    """CPU time that a process has used; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
