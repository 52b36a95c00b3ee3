"""A pool of worker processes that callers use in turns."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    ImageTooLarge,
    InternalError,
    InvalidImage,
    InvalidTensor,
    Overloaded,
    UploadTooLarge,
    error_from_code,
)
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import OVERTIME_NICENESS, Limits
from gateway.workers.messages import Buffer, Message, Piece, pack
from gateway.workers.processes import WorkerEnded, WorkerProcess, WorkerProcesses
from gateway.workers.turns import Turn, Turns
from gateway.workers.worker import CRASHED, OUT_OF_MEMORY, OUT_OF_MEMORY_STATUS

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.05
"""CPU time after which a job makes room for waiting jobs. A photo from a phone takes half of it."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs a pool runs at once.

    Attributes:
        slots: Number of jobs that run at the normal priority of the pool.
        overtime: Number of jobs that may continue beside them after their time slice.
        cpu_lead_limit: CPU time that a caller may use more than one who waits, before its job has to make room.
        kept: Number of idle workers to keep. Others end after `IDLE_SECONDS`.
    """

    slots: int
    overtime: int
    cpu_lead_limit: float
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
SMALL_TENSORS = Work("request", UploadTooLarge, InvalidTensor, None)
LARGE_TENSORS = Work("request", UploadTooLarge, UploadTooLarge, None)
"""orjson crashes when memory runs out."""


class _Displaced(Exception):
    """A job was ended to make room for another caller."""


@dataclass(slots=True, eq=False)
class _Running:
    """A job in progress.

    Attributes:
        worker: The worker.
        caller: The caller.
        restarted: Whether it was displaced before.
        seconds: CPU time that it had used at the last measurement.
        in_overtime: Whether it has given up its slot.
        timer: Timer of the next measurement.
        displaced: Whether it was ended to make room.
    """

    worker: WorkerProcess
    caller: str
    restarted: bool
    seconds: float = 0.0
    in_overtime: bool = False
    timer: asyncio.TimerHandle | None = None
    displaced: bool = False

    def measure(self) -> float:
        """CPU time that it has used."""
        self.seconds = max(self.seconds, self.worker.job_seconds())
        return self.seconds


class WorkerPool:
    """A pool of workers, started on demand and replaced when they end.

    A job runs until it is done, its deadline passes or its caller disconnects. In the last two cases, its worker is
    killed. Callers wait in turns. Those who have used more CPU time wait longer: see `TurnQueue`. A job that has used
    `SLICE_SECONDS` while others wait goes into overtime: it gives up its slot to another job and continues at a lower
    priority. If no more jobs may be in overtime, the job whose caller has used the most CPU time is ended, if that is
    at least `Capacity.cpu_lead_limit` more than a waiting caller has used. It starts again at its next turn. The second
    time, only its own CPU time counts, and it fails if it has to make room again.

    Args:
        fork_server: Forks the workers.
        capacity: How many jobs run at a time.
        limits: Limits of each worker.
        work: How failures are reported.
    """

    def __init__(self, fork_server: ForkServer, capacity: Capacity, limits: Limits, work: Work) -> None:
        self._limits = limits
        self._work = work
        self._capacity = capacity
        self._turns = Turns(capacity.slots)
        self._workers = WorkerProcesses(fork_server, limits, capacity.kept)
        self._overtime: list[_Running] = []

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
                error, they are not read.

        Raises:
            GatewayError: As the job raises it, or as `Work` says.
            DeadlineExceeded: The job was not done in time.
            Overloaded: The job had to make room twice, or the system allows no further process.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                request = pack({"job": job, "arguments": arguments}, buffers)
                for restarted in (False, True):
                    await self._turns.acquire(turn)
                    running: _Running | None = None
                    try:
                        running = _Running(await self._workers.take(), turn[0], restarted)
                        if on_start is not None:
                            on_start()
                        return await self._run(running, request, on_reply)
                    except _Displaced:
                        continue
                    finally:
                        if running is None or not running.in_overtime:
                            self._turns.release()
                subject = self._work.subject
                raise Overloaded(f"This {subject} takes too long to process while others are waiting. Try again later.")
        except TimeoutError:
            raise DeadlineExceeded("The upload was not processed before the deadline of the request.") from None

    async def warm_up(self) -> None:
        """Start the workers that are kept, so that they are ready for the first jobs."""
        await self._workers.warm_up()

    async def close(self) -> None:
        """Kill all idle workers. Jobs in progress must have been cancelled."""
        await self._workers.close()

    async def _run(
        self, running: _Running, request: Sequence[Piece], on_reply: Callable[[int], None] | None
    ) -> Message:
        worker = running.worker
        self._watch(running)
        survives = False
        try:
            reply = await worker.exchange(request, on_reply)
            survives = reply.header.get("ends") is False
            running.seconds = worker.job_ended(cast(float, reply.header.get("cpu_seconds", 0.0)))
        except WorkerEnded as error:
            if running.displaced:
                raise _Displaced from error
            raise await self._cause_of_death(worker) from error
        finally:
            if running.timer is not None:
                running.timer.cancel()
            if running.in_overtime:
                self._overtime.remove(running)
            if survives and not running.in_overtime:
                self._workers.keep(worker)
            else:
                running.measure()
                self._workers.end(worker)
            self._turns.charge(running.caller, running.seconds)
        return self._result(reply)

    def _watch(self, running: _Running) -> None:
        running.timer = asyncio.get_running_loop().call_later(SLICE_SECONDS, self._look_at, running)

    def _look_at(self, running: _Running) -> None:
        """Make room for waiting jobs if a job has used its time slice."""
        if self._turns.waiting and running.measure() >= SLICE_SECONDS:
            if len(self._overtime) < self._capacity.overtime:
                self._put_into_overtime(running)
                return
            heaviest = max([running, *self._overtime], key=self._cpu_lead)
            if self._cpu_lead(heaviest) >= self._capacity.cpu_lead_limit and not heaviest.worker.replies:
                heaviest.displaced = True
                self._workers.end(heaviest.worker)
        if not running.displaced:
            self._watch(running)

    def _cpu_lead(self, running: _Running) -> float:
        """How much more CPU time a caller has used than one who waits; on the second try, the CPU time of the job."""
        lead = self._turns.cpu_lead(running.caller)
        return (min(lead, 0.0) if running.restarted else lead) + running.measure()

    def _put_into_overtime(self, running: _Running) -> None:
        running.in_overtime = True
        self._overtime.append(running)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, running.worker.pid, OVERTIME_NICENESS)
        self._turns.release()

    async def _cause_of_death(self, worker: WorkerProcess) -> GatewayError:
        """The error for a job whose worker has ended."""
        subject = self._work.subject
        status = await asyncio.shield(self._workers.end(worker))
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
