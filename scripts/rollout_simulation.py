"""Simulates rollouts with the guard of `breed rollout`: `python -m scripts.rollout_simulation [RUNS]`.

Prints the tables of docs/rollouts.md: how often a version that is 5 points worse is stopped, and how often one that is
not worse. Answers are drawn; everything that decides is the code of `trainer/rollout`.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from trainer.rollout.guard import Guard, Observation, Signal, Tolerances
from trainer.rollout.sequential import Counts

RUNS = 1000
POINTS = 0.05
SHARES = (0.01, 0.05, 0.25)
LABELLED, SHADOWED = 500, 5000
STABLE: dict[Signal, float] = {"errors": 0.001, "latency": 0.08, "unknown": 0.04, "feedback": 0.05}
"""Shares of hits of the old version where nothing else is said."""


@dataclass(frozen=True)
class Traffic:
    """Draws what two versions answer.

    `stable` and `canary` are the shares of hits of each signal. In each step, there are polls with `answers` answers of
    both together, of which a share of `labelled` gets feedback.
    """

    stable: dict[Signal, float]
    canary: dict[Signal, float]
    answers: int = 2000
    polls: int = 40
    labelled: float = 0.1

    def before(self, generator: np.random.Generator, answers: int = 5000) -> Observation:
        """Earlier answers of the old version."""
        return Observation(self._draw(generator, self.stable, answers))

    def polled(self, generator: np.random.Generator) -> Iterator[Observation]:
        """What each look at the metrics finds, step by step."""
        for share in SHARES:
            for _ in range(self.polls):
                canary = int(generator.binomial(self.answers, share))
                yield Observation(
                    self._draw(generator, self.stable, self.answers - canary),
                    self._draw(generator, self.canary, canary),
                )

    def _draw(self, generator: np.random.Generator, shares: dict[Signal, float], answers: int) -> dict[Signal, Counts]:
        counts: dict[Signal, Counts] = {}
        for signal, share in shares.items():
            total = int(generator.binomial(answers, self.labelled)) if signal == "feedback" else answers
            counts[signal] = Counts(int(generator.binomial(total, share)), total)
        return counts


def stopped_by_feedback(accuracy: float, share: float, worse: float, generator: np.random.Generator) -> int | None:
    """Returns after how many labelled answers of the new version it is stopped; None: not within `LABELLED`."""
    error_rate = 1 - accuracy
    before = Observation({"feedback": Counts(int(generator.binomial(2000, error_rate)), 2000)})
    guard = Guard(before)
    block = 5
    for labelled in range(block, LABELLED + 1, block):
        others = round(block * (1 - share) / share)
        stable = Counts(int(generator.binomial(others, error_rate)), others)
        canary = Counts(int(generator.binomial(block, error_rate + worse)), block)
        if guard.observe(Observation({"feedback": stable}, {"feedback": canary})):
            return labelled
    return None


def stopped_by_shadow(expected: float, worse: float, generator: np.random.Generator) -> int | None:
    """Returns after how many shadowed answers the new version is stopped; None: not within `SHADOWED`."""
    guard = Guard(Observation(), expected_disagreement=expected)
    block = 50
    for shadowed in range(block, SHADOWED + 1, block):
        counts = Counts(int(generator.binomial(block, expected + worse)), block)
        if guard.observe(Observation({}, {"disagreement": counts})):
            return shadowed
    return None


def stopped(traffic: Traffic, expected: float | None, generator: np.random.Generator) -> int | None:
    """Returns after how many answers of the new version a whole rollout is stopped; None if it is not."""
    guard = Guard(traffic.before(generator), expected_disagreement=expected)
    for observation in traffic.polled(generator):
        if guard.observe(observation):
            return guard.counts("errors").total
    return None


def repeated(run: Callable[[np.random.Generator], int | None], runs: int) -> str:
    """Repeats a simulation; returns how often it was stopped, and the median of the answers until then, as cells."""
    answers = [run(np.random.default_rng(seed)) for seed in range(runs)]
    ended = [one for one in answers if one is not None]
    return f"{len(ended) / runs:.1%} | {statistics.median(ended):.0f}" if ended else f"{0:.1%} | "


def main() -> int:
    """Prints the tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print(f"{runs} runs each\n\n| accuracy before | share | stopped within {LABELLED} labelled answers | median |")
    print("|---|---|---|---|")
    for accuracy in (0.99, 0.97, 0.95, 0.90):
        for share in SHARES:
            cells = repeated(lambda rng, a=accuracy, s=share: stopped_by_feedback(a, s, POINTS, rng), runs)  # type: ignore[misc]
            print(f"| {accuracy:.0%} to {accuracy - POINTS:.0%} | {share:.0%} | {cells} |", flush=True)
    print(f"\n| expected disagreement | stopped within {SHADOWED} shadowed answers | median |\n|---|---|---|")
    for expected in (0.01, 0.05, 0.10, 0.20):
        cells = repeated(lambda rng, e=expected: stopped_by_shadow(e, POINTS, rng), runs)  # type: ignore[misc]
        print(f"| {expected:.0%} | {cells} |", flush=True)
    print("\n| whole rollouts of a version that | stopped | median |\n|---|---|---|")
    tolerated = Tolerances()
    equal = Traffic({**STABLE, "disagreement": 0.05}, {**STABLE, "disagreement": 0.05})
    edge: dict[Signal, float] = {one: share + getattr(tolerated, one) for one, share in STABLE.items()}
    edge["disagreement"] = 0.05 + tolerated.disagreement
    worse: dict[Signal, float] = {**STABLE, "feedback": STABLE["feedback"] + POINTS, "disagreement": 0.05 + POINTS}
    for name, traffic in (
        ("is equal", equal),
        ("is worse by exactly what is tolerated", Traffic(equal.stable, edge)),
        ("is 5 points worse", Traffic(equal.stable, worse)),
    ):
        cells = repeated(lambda rng, t=traffic: stopped(t, 0.05, rng), runs)  # type: ignore[misc]
        print(f"| {name} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
