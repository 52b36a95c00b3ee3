"""Scores of multi-label models: average precision, temperature and thresholds.

Every label has a score of its own, the sigmoid of its logit. A photo has a label if the score reaches the threshold of
the label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate
from trainer.evaluation.calibration import two_columns
from trainer.evaluation.intervals import bootstrap_interval
from trainer.model_card import JSON

Floats = NDArray[np.float32] | NDArray[np.float64]
Bools = NDArray[np.bool_]

DEFAULT_THRESHOLD: Final = 0.5
"""Threshold of a label that all photos have, or none: there is nothing to choose it by."""

ROUNDS: Final = 5
"""How often temperature and offsets are fitted in turns; they change by less than a hundredth afterwards."""

STEPS: Final = 40
"""Bisections of an offset."""

RULE: Final = "the highest F1 of each label in cross-validation"
RULE_OF_VALIDATION: Final = "the highest F1 of each label on the validation photos"


@dataclass(frozen=True)
class MultiLabelCalibration:
    """How logits become scores, and from which score a photo has a label.

    `thresholds` are in the order of the labels; `rule` says how they were chosen.
    """

    temperature: float
    thresholds: tuple[float, ...]
    rule: str
    other_logit: None = None

    @classmethod
    def fit(cls, logits: NDArray[np.float32], targets: Bools, rule: str) -> "MultiLabelCalibration":
        """Fits to photos that the head was not fitted on: logits float32 and targets bool (n, labels)."""
        temperature = round(sigmoid_temperature(logits, targets), 6)
        scores = sigmoid(logits, temperature)
        return cls(temperature, tuple(best_thresholds(scores, targets)), rule)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns scores float64 (n, labels)."""
        return sigmoid(logits, self.temperature)


def sigmoid(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Returns the sigmoid of logits (...) divided by the temperature, without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64) / temperature))


def sigmoid_temperature(logits: Floats, targets: Bools) -> float:
    """Returns the temperature of the sigmoids of all labels that minimises the binary log-loss."""
    columns = two_columns(np.asarray(logits, np.float32).reshape(-1, 1))
    return calibrate.fit_temperature(columns, targets.reshape(-1).astype(np.int64))


def sigmoid_offsets(logits: Floats, targets: Bools) -> NDArray[np.float64]:
    """Returns what to subtract from the logits of each label, float64 (labels), before they are scaled.

    The scores of a regularised head are too close to the mean. A temperature alone would scale the bias as well, so
    the scores of rare labels would be too low. With the offset, the mean score of a label is the share of photos that
    have it. Offsets and temperature are fitted alternately, as in Platt scaling with one slope for all labels (Platt
    1999).

    Args:
        logits: float (n, labels), of photos that the head was not trained on.
        targets: bool (n, labels), which labels each photo has.
    """
    exact = logits.astype(np.float64)
    shares = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)  # never 0 or 1, for which there is no offset
    offsets = np.zeros(exact.shape[1])
    for _ in range(ROUNDS):
        temperature = sigmoid_temperature(exact - offsets, targets)
        reach = 50 * temperature
        low, high = exact.min(axis=0) - reach, exact.max(axis=0) + reach
        for _ in range(STEPS):
            offsets = (low + high) / 2
            too_high = sigmoid(exact - offsets, temperature).mean(axis=0) > shares
            low, high = np.where(too_high, offsets, low), np.where(too_high, high, offsets)
    return offsets


def average_precisions(scores: Floats, targets: Bools) -> list[float | None]:
    """Returns the average precision of each label; None for labels that no photo has.

    It is the mean of the precision at each photo with the label, where photos are ordered by score and those of the
    same score count as one place. A random order gives about the share of photos that have the label. For the bootstrap
    of 1,000 photos with 12 labels, this takes 1.2 s; with scikit-learn, it would take 13 s.

    Args:
        scores: float (n, labels); logits give the same.
        targets: bool (n, labels), which labels each photo has.
    """
    return [_average_precision(*columns) for columns in zip(scores.T, targets.T, strict=True)]


def _average_precision(scores: Floats, targets: Bools) -> float | None:
    hits, predicted, _ = _cuts(scores, targets)
    if not len(hits) or not hits[-1]:
        return None
    return float(np.sum(np.diff(hits, prepend=0) * hits / predicted) / hits[-1])


def _cuts(scores: Floats, targets: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each different score, highest first: how many photos have the label and at least it; how many have it."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, len(ordered) > 0))
    return np.cumsum(targets[order], dtype=np.int64)[last], last + 1, ordered[last]


def mean(values: Sequence[float | None]) -> float:
    """Returns the mean of the values that are not None; 0 if all are."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else 0.0


def best_thresholds(scores: Floats, targets: Bools) -> Iterator[float]:
    """Yields the threshold of each label that gives it the highest F1, rounded to six digits and above 0.

    A threshold is in the middle between two scores. Of several with the same F1, it is the one that is nearest to 0.5.
    F1 weighs a missed label like a wrong one. Where scores are probabilities, it is highest at a threshold of half the
    F1 (Lipton et al. 2014), so rare and difficult labels have thresholds under 0.5.

    Args:
        scores: float (n, labels), 0 to 1.
        targets: bool (n, labels), which labels each photo has.
    """
    for column, truth in zip(scores.T, targets.T, strict=True):
        if truth.all() or not truth.any():
            yield DEFAULT_THRESHOLD
            continue
        hits, predicted, lowest = _cuts(column, truth)
        middles = (lowest + np.append(lowest[1:], 0.0)) / 2
        f1 = 2 * hits / (predicted + truth.sum())
        best = np.flatnonzero(f1 >= f1.max() - 1e-9)
        yield max(round(float(middles[best[np.abs(middles[best] - DEFAULT_THRESHOLD).argmin()]]), 6), 1e-6)


def mean_average_precision_interval(scores: Floats, targets: Bools) -> tuple[float, float]:
    """Returns the 95 % interval of the mean average precision by the bootstrap."""

    def figure(rows: NDArray[np.float64]) -> float:
        return mean(average_precisions(rows[:, : scores.shape[1]], rows[:, scores.shape[1] :] > 0))

    return bootstrap_interval(figure, np.concatenate([scores, targets], axis=1))


def f1_score(predicted: Bools, targets: Bools) -> float:
    """Returns F1 of all labels of all photos together (micro-average); 1 if no photo has or gets a label."""
    total = int(predicted.sum() + targets.sum())
    return 2 * int((predicted & targets).sum()) / total if total else 1.0


def metrics(scores: Floats, targets: Bools, thresholds: Sequence[float], labels: Sequence[str]) -> dict[str, JSON]:
    """Returns the figures of a split for the model card; docs/model-contract.md describes them."""
    precisions = average_precisions(scores, targets)
    predicted = scores >= np.asarray(thresholds)
    return {
        "photos": len(targets),
        "mean_average_precision": round(mean(precisions), 4),
        "mean_average_precision_interval": [round(end, 4) for end in mean_average_precision_interval(scores, targets)],
        "average_precision": {
            label: None if value is None else round(value, 4) for label, value in zip(labels, precisions, strict=True)
        },
        "label_share": round(float(targets.mean(axis=0)[targets.any(axis=0)].mean()), 4) if targets.any() else 0.0,
        "micro_f1": round(f1_score(predicted, targets), 4),
        "exact_labels": round(float((predicted == targets).all(axis=1).mean()), 4),
        "without_labels": round(float((~predicted.any(axis=1)).mean()), 4),
    }
