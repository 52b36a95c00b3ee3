"""Calibrate scores: temperature, calibration error, the threshold for "unknown", and label sets."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Integers = NDArray[np.int64] | NDArray[np.int32]

TEMPERATURES = (0.05, 20.0)
"""Bounds of a fitted temperature. A value outside of them means too few validation photos, or a broken model."""

BINS = 15
"""Number of bins of equal width for the expected calibration error, as in Guo et al. 2017."""

FENCE = 3.0
"""Distance of the outer fences from the quartiles, in interquartile ranges (Tukey 1977)."""


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Returns probabilities float64 (n, classes) of logits (n, classes) divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """Fits the temperature that minimises the negative log-likelihood (Guo et al. 2017, section 4.2).

    The log-likelihood is concave in 1 / temperature, and its slope is mean(true logit - expected logit). Bisection on
    the sign of the slope finds the maximum. If the model makes no mistake, the likelihood grows as the temperature
    falls to 0. Such photos do not determine the temperature, so it is at least 1.0 then: scores do not get higher.

    Args:
        logits: float32 (n, classes), of photos that the model was not trained on. The logit z of a single sigmoid is
            passed as the columns (0, z).
        labels: int (n), the true classes.

    Returns:
        The temperature by which to divide logits, within TEMPERATURES.

    Raises:
        ValueError: There are no photos, or the shapes do not match.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} are not (n, classes) and (n,) with n > 0")
    scores = logits.astype(np.float64)
    true = scores[np.arange(len(labels)), labels]

    def lower_is_likelier(temperature: float) -> bool:
        expected = (softmax(scores, temperature) * scores).sum(axis=1)
        return float(np.mean(true - expected)) > 0

    low, high = TEMPERATURES
    if bool(np.all(scores.argmax(axis=1) == labels)):
        low = 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if lower_is_likelier(middle) else (middle, high)
    return math.sqrt(low * high)


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: mean confidence, accuracy and number of answers in each bin of confidence.

    `confidence` and `accuracy` are float64 (bins), NaN for empty bins; `count` is int64 (bins).
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    def filled(self) -> list[tuple[float, float, int]]:
        """Returns (confidence, accuracy, count) of the bins that are not empty, lowest confidence first."""
        rows = zip(self.confidence.tolist(), self.accuracy.tolist(), self.count.tolist(), strict=True)
        return [row for row in rows if row[2]]

    @property
    def expected_calibration_error(self) -> float:
        """Mean difference of accuracy and confidence, weighted by count, 0 to 1."""
        total = sum(count for *_, count in self.filled())
        return sum(abs(confidence - right) * count for confidence, right, count in self.filled()) / total


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
    """Returns the mean difference of confidence and accuracy, 0 to 1 (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Args:
        probabilities: float (n, classes), n > 0.
        labels: int (n), the true classes.
        bins: Number of bins of equal width.
    """
    right = probabilities.argmax(axis=1) == labels
    return reliability(probabilities.max(axis=1), right, bins).expected_calibration_error


def choose_unknown_threshold(confidences: Floats, false_unknown_rate: float) -> float:
    """Chooses the threshold below which an answer is "unknown".

    It is the highest one below which at most `false_unknown_rate` of the known validation photos are. So no photos of
    other things are needed, which training sets rarely contain.

    Args:
        confidences: float (n), the best probability of each known validation photo, n > 0.
        false_unknown_rate: Share of known photos that may become unknown, 0 to 1.

    Returns:
        The threshold, rounded down to four places.
    """
    if not len(confidences):
        raise ValueError("a threshold is chosen on validation photos, and there are none")
    ordered = np.sort(confidences)
    allowed = min(int(false_unknown_rate * len(ordered)), len(ordered) - 1)
    return math.floor(float(ordered[allowed]) * 10_000) / 10_000


def choose_other_logit(logits: Floats, temperature: float, least_known: float) -> float:
    """Chooses the logit of "something else" in a softmax, using only photos of known classes.

    With this logit, the scores of the classes sum to the sigmoid of the difference between their log-sum-exp (the
    negative free energy of Liu et al. 2020) and the logit. The sum is `least_known` if the log-sum-exp is at the lower
    outer fence of those of known photos: three interquartile ranges below the lower quartile (Tukey 1977). Single
    photos hardly change the fence, unlike an extreme quantile, and photos from other sources stay known.

    Args:
        logits: float (n, classes), of known validation photos, n > 0.
        temperature: Divisor of all logits before the softmax.
        least_known: Sum of the scores of the classes at the fence, 0 to 1.

    Returns:
        The logit, before the division by the temperature.
    """
    if not len(logits):
        raise ValueError("a logit is chosen on validation photos, and there are none")
    energies = log_sum_exp(logits, temperature)
    low, high = np.quantile(energies, (0.25, 0.75))
    return other_logit_at(float(low - FENCE * (high - low)), temperature, least_known)


def other_logit_at(threshold: float, temperature: float, least_known: float) -> float:
    """Returns the logit of "something else" for which the scores of the classes sum to `least_known` at a log-sum-exp.

    Args:
        threshold: The log-sum-exp of the logits after the division by the temperature.
        temperature: Divisor of all logits before the softmax.
        least_known: The sum, 0 to 1.
    """
    return (threshold - math.log(least_known / (1 - least_known))) * temperature


def log_sum_exp(logits: Floats, temperature: float) -> NDArray[np.float64]:
    """Returns log(sum(exp(logits / temperature))) of each row, float64 (n): the negative free energy."""
    scaled = logits.astype(np.float64) / temperature
    highest = scaled.max(axis=1)
    return np.asarray(highest + np.log(np.exp(scaled - highest[:, np.newaxis]).sum(axis=1)))


def at_bound(temperature: float) -> bool:
    """Whether a fitted temperature is at a bound of its range, and so means nothing."""
    low, high = TEMPERATURES
    return not low * 1.001 < temperature < high / 1.001


def least_set_score(true_scores: Floats, coverage: float) -> float:
    """Returns the minimum score of labels in a label set that contains the true label with a chosen probability.

    This is split conformal prediction with least ambiguous sets (Sadinle et al. 2019). For photos similar to these, the
    labels with at least this score contain the true one with a probability of at least `coverage`. If the accuracy of
    the model is higher than `coverage`, some sets are empty.

    Args:
        true_scores: float (n), the score of the true label of photos that the model was not trained on.
        coverage: The probability, 0 to 1.
    """
    allowed = allowed_misses(len(true_scores), coverage)
    return float(np.sort(true_scores)[allowed - 1]) if allowed else 0.0


def allowed_misses(photos: int, coverage: float) -> int:
    """Returns the rank of the true score to use as the minimum, 1 for the lowest; 0 if there are too few photos."""
    return math.floor((photos + 1) * (1 - coverage) + 1e-9)  # 10 * (1 - 0.9) is a little less than 1


def auroc(known: Floats, unknown: Floats) -> float:
    """Returns the probability that a known photo has a higher score than an unknown one; ties count half.

    This is the area under the ROC curve, by the Mann-Whitney U statistic (Hanley and McNeil 1982). For the bootstrap of
    11,000 photos, this takes 0.5 s; with scikit-learn, it would take 6 s.

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
