"""The calibration of a trained model: temperature, the score for "something else", and thresholds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate
from trainer.model_card import JSON, Card

MIN_TEMPERATURE = 0.8
"""Minimum temperature if validation photos determine it.

With few mistakes among them, the fitted temperature is too low for photos from other sources.

Measured with MobileNetV2 on 12 breeds, on photos from other sources: a minimum of 1.0 gives a calibration error of 0.10
and an AUROC of 0.980 against 340 photos of other animals; 0.8 gives 0.06 and 0.977; 0.5 gives 0.04 and 0.967.
"""

MIN_KNOWN = 0.9
"""If the scores of all classes sum to less than this, the answer is "unknown".

Measured with EfficientNet-Lite2 on 12 breeds: 7 of 69 photos from another source become unknown, and 6 of 340 photos of
cats and other animals are taken for a breed. With the best score of a softmax over the classes alone, it is 6 and 16.
"""

UNKNOWN_RATE = 0.02
"""Share of known photos that may become unknown.

The threshold is chosen on photos in cross-validation or, for a sigmoid, on views of the validation photos, which are
harder than the photos. Measured with EfficientNet-Lite2 on 12 breeds: 3 of 69 photos from another source become
unknown, and 6 of 340 photos of cats and other animals are taken for a breed.
"""


@dataclass(frozen=True)
class Calibration:
    """How logits become scores, and the thresholds of the scores.

    `other_logit` is the logit of "something else"; None for a sigmoid, which has none. `unknown` has the error rates at
    the threshold, if they could be measured on photos of left-out classes. The labels with at least `set_score` contain
    the true label with a probability of `coverage`; both are None if there are too few photos to choose a score: fewer
    than 19 for 0.95.
    """

    temperature: float
    other_logit: float | None
    threshold: float
    rule: str
    unknown: Mapping[str, JSON] = field(default_factory=dict)
    set_score: float | None = None
    coverage: float | None = None

    @classmethod
    def fit(cls, logits: NDArray[np.float32], labels: NDArray[np.int64], coverage: float = 0.95) -> "Calibration":
        """Calibrates on validation photos, for a model without cross-validation.

        All views of a photo count for its label set. Measured with 128 hidden units on 12 breeds, 100 validation photos
        and eight divisions of the photos: 95.3 % of the sets of new photos contain the true label (standard deviation
        2.7 %); the target was 95 %. With plain views alone, it is 94.7 % (3.5 %), with the worst view of each photo
        99.1 %.

        Args:
            logits: float32 (n * views, classes), or (n * views, 1) of a sigmoid; the views of a photo are consecutive.
            labels: int (n), the classes of the photos.
            coverage: Probability with which a label set contains the true label.
        """
        views = len(logits) // len(labels)
        fitted = cls._fit_views(logits, np.repeat(labels, views))
        return fitted._with_sets(logits, labels, coverage)

    @classmethod
    def _fit_views(cls, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> "Calibration":
        columns = two_columns(logits)
        temperature = round(max(MIN_TEMPERATURE, calibrate.fit_temperature(columns, labels)), 6)
        if logits.shape[1] > 1:
            other = round(calibrate.choose_other_logit(logits, temperature, MIN_KNOWN), 6)
            rule = "the sum at the outer fence of the log-sum-exp that the views of validation photos have"
            return cls(temperature, other, MIN_KNOWN, rule)
        best = calibrate.softmax(columns, temperature).max(axis=1)
        threshold = calibrate.choose_unknown_threshold(best, UNKNOWN_RATE)
        rule = f"the highest score that all but {UNKNOWN_RATE:.0%} of the views of validation photos reach"
        return cls(temperature, None, threshold, rule)

    @classmethod
    def cross_validated(
        cls,
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        left_out: NDArray[np.float32],
        *,
        sigmoid: bool,
        coverage: float = 0.95,
    ) -> "Calibration":
        """Calibrates on photos that the head was not trained on.

        Args:
            logits: float32 (n, classes), of known photos.
            labels: int (n), their classes.
            left_out: float32 (m, classes), of photos of left-out classes; m may be 0.
            sigmoid: Whether the model has a single logit, and so none for "something else".
            coverage: Probability with which a label set contains the true label.
        """
        temperature = round(calibrate.fit_temperature(logits, labels), 6)
        if sigmoid:
            best = calibrate.softmax(logits, temperature).max(axis=1)
            threshold = calibrate.choose_unknown_threshold(best, UNKNOWN_RATE)
            rule = f"the highest score that all but {UNKNOWN_RATE:.0%} of the photos reach in cross-validation"
            return cls(temperature, None, threshold, rule)._with_sets(logits[:, 1:] - logits[:, :1], labels, coverage)
        energies = calibrate.log_sum_exp(logits, temperature)
        threshold = float(np.quantile(energies, UNKNOWN_RATE))
        rule = f"the sum of scores that all but {UNKNOWN_RATE:.0%} of the photos reach in cross-validation"
        rates: dict[str, JSON] = {}
        if len(left_out):
            others = calibrate.log_sum_exp(left_out, temperature)
            rates = {
                "known_photos": len(energies),
                "known_called_unknown": round(float((energies < threshold).mean()), 4),
                "left_out_photos": len(others),
                "left_out_taken_for_known": round(float((others >= threshold).mean()), 4),
                "auroc": round(calibrate.auroc(energies, others), 4),
            }
        other = round(calibrate.other_logit_at(threshold, temperature, MIN_KNOWN), 6)
        return cls(temperature, other, MIN_KNOWN, rule, rates)._with_sets(logits, labels, coverage)

    def _with_sets(self, logits: NDArray[np.float32], labels: NDArray[np.int64], coverage: float) -> "Calibration":
        # With fewer photos, only sets of all labels would have the coverage, and they are useless.
        if not calibrate.allowed_misses(len(labels), coverage):
            return self
        views = len(logits) // len(labels)
        true_scores = self.probabilities(logits)[np.arange(len(logits)), np.repeat(labels, views)]
        least_score = round(calibrate.least_set_score(true_scores, coverage), 6)
        return dataclasses.replace(self, set_score=least_score, coverage=coverage)

    def on(self, card: Card) -> Card:
        """Returns a card with this calibration."""
        sets = {} if self.set_score is None else {"coverage": self.coverage, "least_score": self.set_score}
        return dataclasses.replace(
            card,
            temperature=self.temperature,
            other_labels=() if self.other_logit is None else (None,),
            unknown_threshold=self.threshold,
            unknown_rule=self.rule,
            unknown_rates=self.unknown,
            label_sets=sets,
        )

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns scores float64 (n, classes), followed by that of "something else" if the model has one."""
        if self.other_logit is None:
            return calibrate.softmax(two_columns(logits), self.temperature)
        other = np.full((len(logits), 1), self.other_logit, np.float32)
        return calibrate.softmax(np.concatenate([logits, other], axis=1), self.temperature)


def two_columns(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns logits (n, 2) for those of a sigmoid (n, 1), and any others as they are."""
    return logits if logits.shape[1] > 1 else np.concatenate([np.zeros_like(logits), logits], axis=1)
