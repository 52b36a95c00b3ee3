"""A pool of worker processes that callers use in turns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, Overloaded
from gateway.workers.failures import Work
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import OVERTIME_NICENESS, Limits
from gateway.workers.messages import Buffer, Message, Piece, pack
from gateway.workers.processes import WorkerEnded, WorkerProcess, WorkerProcesses
from gateway.workers.turns import Turn, Turns

SLICE_SECONDS = 0.02
"""CPU time after which a job makes room for waiting jobs. Most photos take a fifth of it. The system counts CPU time in
steps of 10 ms, so a shorter slice would be reached by ordinary photos."""

LOW_PRIORITY_SECONDS = 0.05
"""CPU time after which a job that made room continues at a lower priority. A photo from a phone takes half of it. Its
worker is not used again, because only root could raise the priority."""


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


class _Displaced(Exception):
    """A job was ended to make room for another caller."""


@dataclass(slots=True, eq=False)
class _Running:
    """A job in progress.

    Attributes:
        turn: The caller and its request.
        restarted: Whether it was displaced before.
        seconds: CPU time that it had used at the last measurement.
        in_overtime: Whether it has given up its slot.
        low_priority: Whether its worker has a lower priority than others.
        timer: Timer of the next measurement.
        displaced: Whether it was ended to make room.
    """

    worker: WorkerProcess
    turn: Turn
    restarted: bool
    seconds: float = 0.0
    in_overtime: bool = False
    low_priority: bool = False
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
    `SLICE_SECONDS` while other requests wait goes into overtime: it gives up its slot to another job and continues
    beside it, after `LOW_PRIORITY_SECONDS` at a lower priority. Meanwhile, the other jobs of its request wait. If no
    more jobs may be in overtime, the job whose caller has used the most CPU time is ended, if that is at least
    `Capacity.cpu_lead_limit` more than a waiting caller has used. It starts again at its next turn. The second time,
    only its own CPU time counts, and it fails if it has to make room again.
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
            on_reply: Called with the number of bytes in the buffers of the reply, before they are read; may raise.

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
                        running = _Running(await self._workers.take(), turn, restarted)
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
            status = await asyncio.shield(self._workers.end(worker))
            raise self._work.error_of_exit(status, self._limits.cpu_seconds) from error
        finally:
            if running.timer is not None:
                running.timer.cancel()
            if survives and not running.low_priority:
                self._workers.keep(worker)
            else:
                running.measure()
                self._workers.end(worker)
            self._turns.charge(running.turn[0], running.seconds)
            if running.in_overtime:
                self._overtime.remove(running)
                self._turns.resume(running.turn)  # after the charge, which decides its place
        return self._work.result(reply)

    def _watch(self, running: _Running) -> None:
        seconds = LOW_PRIORITY_SECONDS if running.in_overtime else SLICE_SECONDS
        running.timer = asyncio.get_running_loop().call_later(seconds, self._look_at, running)

    def _look_at(self, running: _Running) -> None:
        """Make room for waiting jobs if a job has used its time slice, and lower its priority if it goes on."""
        if running.worker.end is not None:
            return  # another process may have its process ID by now
        if running.in_overtime:
            if running.measure() >= LOW_PRIORITY_SECONDS:
                running.low_priority = True
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, running.worker.pid, OVERTIME_NICENESS)
                return
        elif self._turns.others_wait(running.turn) and running.measure() >= SLICE_SECONDS:
            if len(self._overtime) < self._capacity.overtime:
                running.in_overtime = True
                self._overtime.append(running)
                self._turns.hold(running.turn)
                self._turns.release()
            else:
                self._displace_heaviest(running)
        self._watch(running)

    def _displace_heaviest(self, running: _Running) -> None:
        """End this job or one in overtime: that of the caller who has used the most CPU time, if that is enough."""
        heaviest = max([running, *self._overtime], key=self._cpu_lead)
        if self._cpu_lead(heaviest) >= self._capacity.cpu_lead_limit and not heaviest.worker.replies:
            heaviest.displaced = True
            self._workers.end(heaviest.worker)

    def _cpu_lead(self, running: _Running) -> float:
        """How much more CPU time a caller has used than one who waits; on the second try, the CPU time of the job."""
        lead = self._turns.cpu_lead(running.turn[0])
        return (min(lead, 0.0) if running.restarted else lead) + running.measure()
