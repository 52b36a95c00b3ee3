"""The head of a multi-label model: a logistic regression for each label, photos with it against all others."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.multi_label import average_precisions, mean, sigmoid_offsets, sigmoid_temperature
from trainer.training.cross_validation import CrossValidation
from trainer.training.logistic_head import MAX_ITERATIONS, Floats, Head, Training, mean_and_error, one_thread


@dataclass(frozen=True)
class MultiLabelTraining(Training):
    """Training data in which a photo can have several labels or none.

    `targets` says which labels each photo has, bool (photos, classes). `labels` are the strata of the photos, for the
    division into folds. `class_weights` are not used: they would raise the scores of rare labels above their
    probability.
    """

    targets: NDArray[np.bool_]

    @property
    def truth(self) -> NDArray[Any]:
        """The reference of `score` and `loss`: the targets."""
        return self.targets

    def fit(self, mask: NDArray[np.bool_], strength: float) -> Head:
        """Fits a head to the chosen photos, bool (photos).

        If all of them have a label, or none, its logit is the same for every photo.
        """
        from sklearn.linear_model import LogisticRegression

        rows, centre, scale = self.centred(mask)
        targets = np.repeat(self.targets[mask], self.features.shape[1], axis=0)
        kernel = np.zeros((rows.shape[1], targets.shape[1]))
        with_label = targets.sum(axis=0)
        bias = np.log((with_label + 1) / (len(rows) - with_label + 1))  # of a share, with Laplace's rule of succession
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-4)
        with one_thread():
            for at in np.flatnonzero((with_label > 0) & (with_label < len(rows))):
                model.fit(rows, targets[:, at])
                kernel[:, at] = model.coef_[0] / scale
                bias[at] = model.intercept_[0] - centre @ kernel[:, at]
        return Head(kernel.astype(np.float32), bias.astype(np.float32))

    def score(self, logits: Floats, mask: NDArray[np.bool_]) -> float:
        """Returns the mean average precision of logits (n, classes) of the chosen photos."""
        return mean(average_precisions(logits, self.targets[mask]))

    def loss(self, logits: Floats, mask: NDArray[np.bool_]) -> tuple[float, float]:
        """Returns the mean binary log-loss of calibrated logits of the chosen photos, and its standard error."""
        targets = self.targets[mask]
        centred = logits - sigmoid_offsets(logits, targets)
        scaled = centred / sigmoid_temperature(centred, targets)
        return mean_and_error(np.logaddexp(0, np.where(targets, -scaled, scaled)).mean(axis=1))

    def groups(self) -> list[list[int]]:
        """Returns no groups, because photos without labels are part of the training."""
        return []


def shifted(head: Head, cross_validation: CrossValidation) -> tuple[Head, CrossValidation]:
    """Returns a head and its cross-validation after `sigmoid_offsets` has corrected the biases."""
    offsets = sigmoid_offsets(cross_validation.logits, cross_validation.labels).astype(np.float32)
    shifted_logits = cross_validation.logits - offsets
    return Head(head.kernel, head.bias - offsets), dataclasses.replace(cross_validation, logits=shifted_logits)
