"""Load generators: callers that wait for their answers (closed loop), or a fixed rate of requests (open loop).

Callers are threads that block in the kernel, because the client shares the cores with the measured programs and must
take little CPU time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RAMP_SECONDS = 0.4
"""Duration of the load before the measurement starts."""


class Caller(Protocol):
    """A client with one connection."""

    def call(self, photo: int) -> bytes:
        """Send the photo with a number and wait for the answer. Raises if there is none."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True)
class Run:
    """The result of a load.

    Attributes:
        seconds: Length of the measured time.
        latencies: float64 (n): seconds of each request that ended within it.
        cpu: CPU seconds used in that time, by name of a meter.
        failures: Requests that ended in an error.
        error: The last of these errors.
    """

    seconds: float
    latencies: NDArray[np.float64]
    cpu: dict[str, float]
    failures: int = 0
    error: str = ""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """A percentile of the latencies in milliseconds, with linear interpolation."""
        return float(np.percentile(self.latencies, percent)) * 1e3 if len(self.latencies) else float("nan")

    def cpu_ms(self, meter: str) -> float:
        """CPU milliseconds per request of a meter."""
        return self.cpu[meter] / len(self.latencies) * 1e3 if len(self.latencies) else float("nan")

    def without_failures(self) -> Run:
        """Returns the run if no request failed.

        Raises:
            RuntimeError: A request failed, or none was answered.
        """
        if self.failures or not len(self.latencies):
            counts = f"{self.failures} requests failed, {len(self.latencies)} were answered"
            raise RuntimeError(f"{counts}; the last error: {self.error}" if self.error else counts)
        return self


Meters = Callable[[], dict[str, float]]
"""CPU seconds used so far, by name."""


@dataclass
class _Tally:
    """End times of requests of all threads. Appending to a list is atomic."""

    ended: list[tuple[float, float]]
    failed: list[float]
    error: str = ""

    def run(self, start: float, end: float, before: dict[str, float], after: dict[str, float]) -> Run:
        latencies = [seconds for at, seconds in self.ended if start <= at < end]
        cpu = {name: after[name] - before[name] for name in before}
        failures = sum(start <= at < end for at in self.failed)
        return Run(end - start, np.array(latencies, np.float64), cpu, failures, self.error)


def closed_loop(
    connect: Callable[[], Caller], callers: int, seconds: float, photos: Sequence[int], meters: Meters
) -> Run:
    """Each caller sends the next photo after the answer to the previous one."""
    tally, stop = _Tally([], []), threading.Event()

    def work(number: int) -> None:
        caller, at = connect(), number
        try:
            while not stop.is_set():
                started = time.perf_counter()
                _record(tally, caller, photos[at % len(photos)], started)
                at += callers
        finally:
            caller.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    time.sleep(RAMP_SECONDS)
    before, start = meters(), time.perf_counter()
    time.sleep(seconds)
    after, end = meters(), time.perf_counter()
    stop.set()
    for thread in threads:
        thread.join()
    return tally.run(start, end, before, after)


def open_loop(
    connect: Callable[[], Caller],
    rate: float,
    seconds: float,
    photos: Sequence[int],
    meters: Meters,
    max_callers: int = 128,
) -> Run:
    """Sends `rate` photos per second, and measures each from the time when it should have been sent.

    So requests that wait while a server stalls count (no "coordinated omission").
    """
    tally, todo = _Tally([], []), queue.SimpleQueue[tuple[int, float] | None]()
    threads: list[threading.Thread] = []
    idle = threading.Semaphore(0)

    def work() -> None:
        caller = connect()
        try:
            while (task := todo.get()) is not None:
                _record(tally, caller, *task)
                idle.release()
        finally:
            caller.close()

    begun = time.perf_counter()
    start, end = begun + RAMP_SECONDS, begun + RAMP_SECONDS + seconds
    before: dict[str, float] = {}
    for number in range(round((RAMP_SECONDS + seconds) * rate)):
        due = begun + number / rate
        if not before and due >= start:
            before = meters()
        if (pause := due - time.perf_counter()) > 0:
            time.sleep(pause)
        if not idle.acquire(blocking=False) and len(threads) < max_callers:
            threads.append(threading.Thread(target=work))
            threads[-1].start()
        todo.put((photos[number % len(photos)], due))
    if (pause := end - time.perf_counter()) > 0:
        time.sleep(pause)
    after = meters()
    for _ in threads:
        todo.put(None)
    for thread in threads:
        thread.join()
    # Select by due time, not by end time, to include late answers.
    due_within = [(at, took) for at, took in tally.ended if start <= at - took < end]
    latencies = np.array([took for _, took in due_within], np.float64)
    cpu = {name: after[name] - before[name] for name in before}
    return Run(end - start, latencies, cpu, len(tally.failed), tally.error)


def _record(tally: _Tally, caller: Caller, photo: int, started: float) -> None:
    try:
        caller.call(photo)
    except Exception as error:  # any error is a failed request
        tally.error = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        tally.failed.append(time.perf_counter())
    else:
        ended = time.perf_counter()
        tally.ended.append((ended, ended - started))
