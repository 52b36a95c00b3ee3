"""Scores that mean what they say: temperature, calibration error, and where an answer becomes "unknown"."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Integers = NDArray[np.int64] | NDArray[np.int32]

TEMPERATURES = (0.05, 20.0)
"""Bounds of a fitted temperature: outside of them the validation set is too small or the model is broken."""

BINS = 15
"""Of equal width, for the expected calibration error: as in Guo et al. 2017, so that figures can be compared."""

FENCE = 3.0
"""Interquartile ranges from the quartiles to the outer fences, beyond which a value is "far out" (Tukey 1977)."""


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Returns probabilities float64 (n, classes) of logits (n, classes) divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """Fits the temperature that gives the least negative log-likelihood (Guo et al. 2017, section 4.2).

    The likelihood is concave in 1 / temperature, where its slope is mean(true logit - expected logit): bisection on
    the sign of the slope finds the optimum. Without a single mistake the likelihood grows as the temperature falls to
    0; such a set says nothing of how sure to be, and the model is then never made surer than it is (1.0 at least).

    Args:
        logits: float32 (n, classes), from a set that the model was not trained on. A single sigmoid's logit z is
            given as the columns (0, z).
        labels: int (n), the true classes.

    Returns:
        The temperature, within TEMPERATURES, by which to divide logits.

    Raises:
        ValueError: Empty, or the shapes do not agree.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} are not (n, classes) and (n,) with n > 0")
    scores = logits.astype(np.float64)
    true = scores[np.arange(len(labels)), labels]

    def surer_is_likelier(temperature: float) -> bool:
        expected = (softmax(scores, temperature) * scores).sum(axis=1)
        return float(np.mean(true - expected)) > 0

    low, high = TEMPERATURES
    if bool(np.all(scores.argmax(axis=1) == labels)):
        low = 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if surer_is_likelier(middle) else (middle, high)
    return math.sqrt(low * high)


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: per bin of confidence, how sure answers were and how many were right.

    `confidence`, `accuracy`: float64 (bins), NaN where a bin is empty; `count`: int64 (bins).
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    def filled(self) -> list[tuple[float, float, int]]:
        """Returns (confidence, accuracy, count) of the bins that are not empty, least sure first."""
        rows = zip(self.confidence.tolist(), self.accuracy.tolist(), self.count.tolist(), strict=True)
        return [row for row in rows if row[2]]

    @property
    def expected_calibration_error(self) -> float:
        """The mean distance of accuracy from confidence, weighed by count, 0 to 1."""
        total = sum(count for *_, count in self.filled())
        return sum(abs(sure - right) * count for sure, right, count in self.filled()) / total


def reliability(confidences: Floats, right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Sorts answers into bins of equal width by confidence, float (n), n > 0; `right` is bool (n)."""
    confidence = confidences.astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(place, weights=right, minlength=bins) / count
    return Reliability(mean_confidence, accuracy, count.astype(np.int64))


def expected_calibration_error(probabilities: Floats, labels: Integers, bins: int = BINS) -> float:
    """Returns how far confidence is from accuracy on average, 0 to 1 (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Args:
        probabilities: float (n, classes), n > 0.
        labels: int (n), the true classes.
        bins: Number of bins of equal width.
    """
    right = probabilities.argmax(axis=1) == labels
    return reliability(probabilities.max(axis=1), right, bins).expected_calibration_error


def choose_unknown_threshold(confidences: Floats, false_unknown_rate: float) -> float:
    """Chooses the score under which an answer is "unknown": the highest that costs no more known photos than allowed.

    The rule needs no photos of other things, which a training set seldom has: of the known validation photos, at most
    `false_unknown_rate` lie under the threshold.

    Args:
        confidences: float (n), the best probability of each known validation photo, n > 0.
        false_unknown_rate: The share that may be lost, 0 to 1.

    Returns:
        The threshold, rounded down to four places.
    """
    if not len(confidences):
        raise ValueError("a threshold is chosen on validation photos, and there are none")
    ordered = np.sort(confidences)
    allowed = min(int(false_unknown_rate * len(ordered)), len(ordered) - 1)
    return math.floor(float(ordered[allowed]) * 10_000) / 10_000


def choose_other_logit(logits: Floats, temperature: float, least_known: float) -> float:
    """Chooses the logit of "something else" in a softmax, from photos of known classes alone.

    With that logit, the scores of the classes sum to the sigmoid of how far their log-sum-exp (the negative free
    energy of Liu et al. 2020) is over it. The sum is `least_known` where the log-sum-exp is at the outer fence of what
    known photos have: three times the interquartile range under the lower quartile (Tukey 1977). Unlike a quantile far
    out, that hardly moves with single photos, and photos from other sources than the training's are not refused.

    Args:
        logits: float (n, classes), of known validation photos, n > 0.
        temperature: What all logits are divided by before the softmax.
        least_known: The sum of the classes' scores at the fence, 0 to 1.

    Returns:
        The logit, to be divided by the temperature as the others are.
    """
    if not len(logits):
        raise ValueError("a logit is chosen on validation photos, and there are none")
    found = log_sum_exp(logits, temperature)
    low, high = np.quantile(found, (0.25, 0.75))
    return other_logit_at(float(low - FENCE * (high - low)), temperature, least_known)


def other_logit_at(threshold: float, temperature: float, least_known: float) -> float:
    """Returns the logit of "something else" with which the classes' scores sum to `least_known` at a log-sum-exp.

    Args:
        threshold: The log-sum-exp, of logits divided by the temperature.
        temperature: What all logits are divided by before the softmax.
        least_known: The sum, 0 to 1.
    """
    return (threshold - math.log(least_known / (1 - least_known))) * temperature


def log_sum_exp(logits: Floats, temperature: float) -> NDArray[np.float64]:
    """Returns log(sum(exp(logits / temperature))) of each row, float64 (n): the negative free energy."""
    scaled = logits.astype(np.float64) / temperature
    highest = scaled.max(axis=1)
    return np.asarray(highest + np.log(np.exp(scaled - highest[:, np.newaxis]).sum(axis=1)))


def at_bound(temperature: float) -> bool:
    """Whether a fitted temperature is at the end of its range, where it says nothing."""
    low, high = TEMPERATURES
    return not low * 1.001 < temperature < high / 1.001


def least_set_score(true_scores: Floats, coverage: float) -> float:
    """Returns the least score with which a label belongs into a set that holds the truth with a chosen probability.

    This is split conformal prediction with sets of least ambiguity (Sadinle et al. 2019): on photos like those that it
    was chosen on, the labels with at least that score hold the true one in a share of `coverage` or more. Where the
    model is more often right than that, some sets are empty.

    Args:
        true_scores: float (n), the score of the true label of photos that the model was not fitted on.
        coverage: The probability, 0 to 1.
    """
    allowed = allowed_misses(len(true_scores), coverage)
    return float(np.sort(true_scores)[allowed - 1]) if allowed else 0.0


def allowed_misses(photos: int, coverage: float) -> int:
    """Returns the rank of the true score that sets must reach, from 1 for the lowest; 0 if there are too few photos."""
    return math.floor((photos + 1) * (1 - coverage) + 1e-9)  # 10 * (1 - 0.9) is a little less than 1


def auroc(known: Floats, unknown: Floats) -> float:
    """Returns the chance that a known photo scores above an unknown one, ties counting half.

    It is the area under the ROC curve, by the Mann-Whitney U statistic (Hanley and McNeil 1982).

    Args:
        known: float (n), confidences of photos of known classes, n > 0.
        unknown: float (m), confidences of photos of other things, m > 0.
    """
    values = np.concatenate([known, unknown])
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]  # ties share their mean rank, from 1
    statistic = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return float(statistic / (len(known) * len(unknown)))
