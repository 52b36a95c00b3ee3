"""Throughput of batch requests compared with single requests."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.clients import HttpCaller, form_request
from bench.load import closed_loop
from bench.programs import GATEWAY_PATH
from bench.systems import posting
from testing.processes import LOOPBACK

BATCH = 64
CALLERS = 8


def measure(port: int, photos: Sequence[bytes], rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Photos per second in each round: in batches of 64 from one caller, and one by one from 8 callers."""
    files = [("images", f"{number}.jpg", photos[number % len(photos)]) for number in range(BATCH)]
    caller = HttpCaller(LOOPBACK, port, [form_request(f"{GATEWAY_PATH}/batch", LOOPBACK, files)])
    batches: list[float] = []
    singles: list[float] = []
    try:
        for _ in range(rounds):
            batches.append(_in_batches(caller, seconds))
            connect = posting(port, GATEWAY_PATH, photos)
            singles.append(closed_loop(connect, CALLERS, seconds, range(len(photos)), dict).rate)
    finally:
        caller.close()
    return batches, singles


def _in_batches(caller: HttpCaller, seconds: float) -> float:
    started, done = time.perf_counter(), 0
    while not done or time.perf_counter() - started < seconds:
        caller.call(0)
        done += BATCH
    return done / (time.perf_counter() - started)
