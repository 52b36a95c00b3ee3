"""Measure every system under every load, interleaved in rounds, so that disturbances affect all equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.load import Run, closed_loop, open_loop
from bench.systems import System

CLOSED = (1, 8, 32)
OPEN_SHARE = 0.6
"""Rate of the open loop, as a fraction of the throughput of the minimal work with 8 callers."""

CLIENT = "client"


@dataclass(frozen=True)
class Spread:
    """Median and range of a value over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median and range; NaN if there are no values."""
        if not values:
            return cls(float("nan"), float("nan"), float("nan"))
        return cls(float(np.median(values)), min(values), max(values))


@dataclass
class Comparison:
    """All runs by load and system, in order of rounds.

    Attributes:
        runs: By load (``8 callers``, ``open 40/s``), then system.
        memory: Megabytes by system and process, after all loads.
    """

    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)

    def spread(self, load: str, system: str, figure: Callable[[Run], float]) -> Spread:
        """A value of a system under a load."""
        return Spread.of([figure(run) for run in self.runs[load][system]])

    def ratio(self, load: str, system: str, other: str, figure: Callable[[Run], float]) -> Spread:
        """The ratio of a value of two systems, by round."""
        pairs = zip(self.runs[load][system], self.runs[load][other], strict=True)
        return Spread.of([figure(one) / figure(two) for one, two in pairs])


def compare(
    systems: Sequence[System],
    photos: int,
    rounds: int,
    seconds: float,
    rate: float | None,
    advance: Callable[[str], None],
    closed: Sequence[int] = CLOSED,
) -> Comparison:
    """Runs all measurements.

    Args:
        systems: The compared systems. The second one is the minimal work.
        photos: Number of photos, sent in turn.
        rounds: Number of rounds.
        seconds: Duration of each measurement.
        rate: Requests per second of the open loop. None means a fraction of the throughput in the first round.
        advance: Called with the name of each completed measurement.
        closed: Numbers of callers. Must contain 8 if there is no rate.
    """
    result = Comparison()
    numbers = range(photos)

    def add(load: str, system: System, run: Run) -> None:
        result.runs.setdefault(load, {}).setdefault(system.name, []).append(run)
        advance(f"{system.name}, {load}")

    for turn in range(rounds):
        order = [*systems[turn % len(systems) :], *systems[: turn % len(systems)]]
        for callers in closed:
            for system in order:
                load = f"{callers} caller{'s' * (callers > 1)}"
                add(load, system, closed_loop(system.connect, callers, seconds, numbers, meters(system)))
        if rate is None:
            rate = max(1.0, round(OPEN_SHARE * result.runs["8 callers"][systems[1].name][0].rate))
        for system in order:
            add(f"open {rate:g}/s", system, open_loop(system.connect, rate, seconds, numbers, meters(system)))
    result.memory = {
        one.name: {name: tree.memory_bytes() / 2**20 for name, tree in one.trees.items()} for one in systems
    }
    return result


def meters(system: System) -> Callable[[], dict[str, float]]:
    """CPU time of the process trees of a system, and of this client."""

    def read() -> dict[str, float]:
        return {CLIENT: time.process_time(), **{name: tree.cpu_seconds() for name, tree in system.trees.items()}}

    return read
