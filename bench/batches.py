"""Many photos in one request against as many single requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.clients import HttpCaller, form_request
from bench.load import closed_loop
from bench.processes import LOOPBACK
from bench.systems import GATEWAY_PATH, posting

BATCH = 64
CALLERS = 8


def measure(port: int, photos: Sequence[bytes], rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Photos a second by round: in batches of 64 from one caller, and one by one from 8."""
    files = [("images", f"{number}.jpg", photos[number % len(photos)]) for number in range(BATCH)]
    request = form_request(f"{GATEWAY_PATH}/batch", LOOPBACK, files)
    batches: list[float] = []
    singles: list[float] = []
    nothing: Callable[[], dict[str, float]] = dict
    for _ in range(rounds):
        run = closed_loop(lambda: HttpCaller(LOOPBACK, port, [request]), 1, seconds, [0], nothing)
        # Few and long requests: those that end within the time are no measure, their mean duration is.
        batches.append(BATCH / float(run.latencies.mean()) if len(run.latencies) else 0.0)
        singles.append(
            closed_loop(posting(port, GATEWAY_PATH, photos), CALLERS, seconds, range(len(photos)), nothing).rate
        )
    return batches, singles
