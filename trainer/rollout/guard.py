"""Decide whether a new version may keep its share of the traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from trainer.rollout.sequential import Counts, DifferenceTest, LimitTest, SequentialTest

Signal = Literal["errors", "latency", "unknown", "feedback", "disagreement"]

ALPHA: Final = 0.01
"""Probability that an equal version is ever rejected, at most, over all signals and the whole rollout."""

ALPHA_SHARES: Final[Mapping[Signal, float]] = {
    "errors": 0.1, "latency": 0.1, "unknown": 0.1, "feedback": 0.6, "disagreement": 0.1,
}  # fmt: skip
"""Share of `ALPHA` of each signal (Bonferroni). Feedback is rare, so it needs most; the others have an observation for
each answer, and find the same difference with a tenth."""

HITS: Final[Mapping[Signal, str]] = {
    "errors": "requests that failed (status 5xx)",
    "latency": "slow calls of the model server",
    "unknown": "photos that are unknown",
    "feedback": "answers that people called wrong",
    "disagreement": "shadowed photos with another label",
}
"""What is counted for each signal."""


@dataclass(frozen=True)
class Tolerances:
    """By how much the share of hits of the new version may exceed that of the old one.

    That of `disagreement` is on top of what the comparison of both versions expects.
    """

    errors: float = 0.005
    latency: float = 0.05
    unknown: float = 0.02
    feedback: float = 0.0
    disagreement: float = 0.01


@dataclass(frozen=True)
class Observation:
    """What was counted in a period: for each signal, the hits of the old and of the new version.

    `disagreement` has the counts of the shadow, which compares both, as those of the new version.
    """

    stable: Mapping[Signal, Counts] = field(default_factory=dict)
    canary: Mapping[Signal, Counts] = field(default_factory=dict)


class Guard:
    """Watches the signals, and objects as soon as one of them is evidence that the new version is worse.

    For `disagreement`, the null hypothesis is that the share is at most the expected one plus its tolerance
    (`LimitTest`); for the others, that the share of the new version exceeds that of the old one by at most its
    tolerance (`DifferenceTest`). If all null hypotheses are true, the probability that the guard ever objects is at
    most `alpha`, however often it looks.

    Args:
        before: Earlier answers of the old version.
        tolerances: What is accepted.
        expected_disagreement: Share of photos on which both versions are expected to differ; None: not watched.
        alpha: Probability of a false alarm, at most.
    """

    def __init__(
        self,
        before: Observation,
        tolerances: Tolerances | None = None,
        expected_disagreement: float | None = None,
        alpha: float = ALPHA,
    ) -> None:
        tolerances = tolerances or Tolerances()
        self._differences: dict[Signal, DifferenceTest] = {
            signal: DifferenceTest(
                getattr(tolerances, signal), alpha * ALPHA_SHARES[signal], before.stable.get(signal, Counts())
            )
            for signal in ALPHA_SHARES
            if signal != "disagreement"
        }
        self._disagreement: LimitTest | None = None
        if expected_disagreement is not None:
            limit = expected_disagreement + tolerances.disagreement
            self._disagreement = LimitTest(limit, alpha * ALPHA_SHARES["disagreement"])
        self._stable: dict[Signal, Counts] = {}
        self._canary: dict[Signal, Counts] = {}

    @property
    def tests(self) -> dict[Signal, SequentialTest]:
        """The test of each signal that is watched."""
        tests: dict[Signal, SequentialTest] = dict(self._differences)
        if self._disagreement is not None:
            tests["disagreement"] = self._disagreement
        return tests

    def counts(self, signal: Signal) -> Counts:
        """Returns what was counted of the new version so far."""
        return self._canary.get(signal, Counts())

    def observe(self, new: Observation) -> str | None:
        """Adds what was counted since the last call. Returns the reasons against the new version, or None."""
        for signal in ALPHA_SHARES:
            self._stable[signal] = self._stable.get(signal, Counts()) + new.stable.get(signal, Counts())
            self._canary[signal] = self._canary.get(signal, Counts()) + new.canary.get(signal, Counts())
        for signal, test in self._differences.items():
            test.add(new.stable.get(signal, Counts()), new.canary.get(signal, Counts()))
        if self._disagreement is not None:
            self._disagreement.add(new.canary.get("disagreement", Counts()))
        reasons = [self._reason(signal, test) for signal, test in self.tests.items() if test.rejected]
        return "; ".join(reasons) or None

    def _reason(self, signal: Signal, test: SequentialTest) -> str:
        if isinstance(test, LimitTest):
            reference = f"at most {test.limit:.1%} were expected"
        else:
            reference = f"of the old version {self._stable[signal]}"
        return (
            f"{signal}: {HITS[signal]}: {self._canary[signal]} of the new version, {reference} "
            f"(e-value {test.evidence:.3g}, limit {1 / test.alpha:.3g})"
        )
