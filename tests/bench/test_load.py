"""The load generator's arithmetic, on callers whose times are known."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from bench.load import RAMP_SECONDS, Run, closed_loop, open_loop
from testing.polling import until


class Slow:
    """Takes a fixed time, and notes what it was given."""

    def __init__(self, seconds: float, calls: list[int] | None = None, fail: bool = False) -> None:
        self.seconds, self.calls, self.fail = seconds, calls, fail
        self.closed = False

    def call(self, photo: int) -> bytes:
        if self.calls is not None:
            self.calls.append(photo)
        time.sleep(self.seconds)
        if self.fail:
            raise OSError
        return b""

    def close(self) -> None:
        self.closed = True


class Stalls:
    """Answers at once, but for one long stall that holds up all callers."""

    lock = threading.Lock()
    stalled = False

    def call(self, photo: int) -> bytes:
        with self.lock:
            if photo == 1 and not Stalls.stalled:
                Stalls.stalled = True
                time.sleep(0.5)
        return b""

    def close(self) -> None:
        pass


def no_meters() -> dict[str, float]:
    return {}


def measured(load: Callable[[], Run]) -> Run:
    """A run in whose time a request ended: the machine may stand still for all of it."""

    def runs() -> Run | None:
        run = load()
        return run if run.failures or len(run.latencies) else None

    run = until(runs)
    assert run is not None
    return run


def test_rate_percentiles_and_cpu_follow_from_the_latencies() -> None:
    run = Run(2.0, np.array([0.010, 0.020, 0.030, 0.040, 0.050]), {"server": 0.025})
    assert run.rate == 2.5
    assert run.percentile(50) == pytest.approx(30)
    assert run.percentile(99) == pytest.approx(49.6)
    assert run.cpu_ms("server") == pytest.approx(5)


def test_a_run_without_answers_has_no_figures_and_does_not_fail() -> None:
    run = Run(2.0, np.array([]), {"server": 1.0})
    assert run.rate == 0
    assert np.isnan(run.percentile(50))
    assert np.isnan(run.cpu_ms("server"))
    with pytest.raises(RuntimeError, match="0 were answered"):
        run.without_failures()


def test_a_closed_loop_keeps_every_caller_busy_and_counts_within_its_time_only() -> None:
    calls: list[int] = []
    run = measured(lambda: closed_loop(lambda: Slow(0.02, calls), 4, 0.5, range(3), no_meters))
    assert run.latencies.min() >= 0.02
    # Four callers at 20 ms are 200 a second at most; fewer when the machine is busy, never more.
    assert run.rate <= 210
    assert len(run.latencies) < len(calls), "what ran before and after the measured time is not counted"
    assert set(Counter(calls)) == {0, 1, 2}


def test_a_closed_loop_hangs_up_and_counts_failures_apart() -> None:
    made: list[Slow] = []

    def connect() -> Slow:
        made.append(Slow(0.01, fail=True))
        return made[-1]

    run = measured(lambda: closed_loop(connect, 2, 0.2, range(1), no_meters))
    assert len(run.latencies) == 0
    with pytest.raises(RuntimeError, match="requests failed, 0 were answered; the last error: OSError"):
        run.without_failures()
    assert all(one.closed for one in made)


def test_an_open_loop_charges_a_stall_to_all_who_would_have_waited() -> None:
    Stalls.stalled = False
    rate = 100.0
    first_counted = round(RAMP_SECONDS * rate) + 1
    photos = [0] * (first_counted + 1)
    photos[first_counted] = 1  # stalls just after the clock has started
    run = open_loop(Stalls, rate, 1.0, photos, no_meters)
    # About 50 were due within the half second; a client that waits for its answer would have seen one slow request.
    assert (run.latencies > 0.1).sum() >= 20
    assert run.latencies.max() >= 0.45


def test_an_open_loop_sends_all_that_are_due() -> None:
    run = open_loop(lambda: Slow(0.001), 50, 1.0, range(2), no_meters)
    assert len(run.latencies) == pytest.approx(50, abs=2)


def test_meters_are_read_at_both_ends_of_the_measured_time() -> None:
    started = time.perf_counter()
    run = closed_loop(lambda: Slow(0.01), 1, 0.3, range(1), lambda: {"clock": time.perf_counter() - started})
    assert 0.3 <= run.cpu["clock"] <= time.perf_counter() - started - RAMP_SECONDS
