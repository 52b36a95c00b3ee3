"""Count the signals of two versions in what gateways have added to their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trainer.rollout.guard import Observation, Signal
from trainer.rollout.metrics import Sample
from trainer.rollout.sequential import Counts

FAST_SHARE: Final = 0.9
"""A call is slow if it takes longer than a bound that at least this share of the old version's calls keeps."""

UNKNOWN: Final = "(unknown)"
"""The label under which gateways count unknown photos."""

LATENCY: Final = "gateway_version_predict_seconds_bucket"

WRONG: Final = frozenset({"wrong", "none"})


@dataclass(frozen=True)
class Versions:
    """What to tell apart in the metrics of a model: the old version, the new one, and names of the shadow that is it.

    `slow_seconds` is the bound above which calls are slow, one of the upper bounds of the histogram.
    """

    stable: int
    canary: int
    shadows: frozenset[str]
    slow_seconds: float | None = None

    def observe(self, added: Sequence[Sample]) -> Observation:
        """Counts what was added to the metrics."""
        return Observation(self._of(added, self.stable), self._of(added, self.canary, shadows=True))

    def _of(self, added: Sequence[Sample], version: int, *, shadows: bool = False) -> dict[Signal, Counts]:
        counted: dict[Signal, Counts] = {}

        def add(signal: Signal, hits: float, total: float) -> None:
            counted[signal] = counted.get(signal, Counts()) + Counts(round(hits), round(total))

        for sample in added:
            labels, value = sample.by_label, sample.value
            if sample.name == "gateway_shadow_images_total":
                if shadows and labels["target"] in self.shadows and labels["outcome"] in {"agree", "disagree"}:
                    add("disagreement", value if labels["outcome"] == "disagree" else 0, value)
            elif labels.get("version") != str(version):
                continue
            elif sample.name == "gateway_requests_total":
                if labels["status"][:1] in {"2", "5"}:  # others are mistakes of callers, and limits
                    add("errors", value if labels["status"].startswith("5") else 0, value)
            elif sample.name == "gateway_predictions_total":
                add("unknown", value if labels["label"] == UNKNOWN else 0, value)
            elif sample.name == "gateway_feedback_total":
                if labels["verdict"] != "withdrawn":
                    add("feedback", value if labels["verdict"] in WRONG else 0, value)
            elif sample.name == LATENCY and self.slow_seconds is not None:
                bound = float(labels["le"])
                if bound == float("inf"):
                    add("latency", value, value)
                elif bound == self.slow_seconds:
                    add("latency", -value, 0)
        return counted


def slow_bound(samples: Sequence[Sample], version: int) -> float | None:
    """Returns the smallest bound of the histogram that `FAST_SHARE` of a version's calls keep, if there is one."""
    counts: dict[float, float] = {}
    for sample in samples:
        labels = sample.by_label
        if sample.name == LATENCY and labels.get("version") == str(version):
            bound = float(labels["le"])
            counts[bound] = counts.get(bound, 0.0) + sample.value
    calls = counts.pop(float("inf"), 0.0)
    return next((bound for bound, count in sorted(counts.items()) if calls and count >= FAST_SHARE * calls), None)
