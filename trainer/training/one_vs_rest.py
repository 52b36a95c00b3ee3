"""The head of a multi-label model: a logistic regression for each label, photos with it against all others."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.multi_label import average_precisions, mean, sigmoid_offsets, sigmoid_temperature
from trainer.training.cross_validation import CrossValidation
from trainer.training.logistic_head import MAX_ITERATIONS, Floats, Head, Training, mean_and_error


@dataclass(frozen=True)
class MultiLabelTraining(Training):
    """What to fit to, where a photo can have several labels or none.

    `targets`: which labels each photo has, bool (photos, classes). `labels` are the strata of the photos, by which
    folds are divided. `class_weights` are not used: they would raise the scores of rare labels above their probability.
    """

    targets: NDArray[np.bool_]

    @property
    def truth(self) -> NDArray[Any]:
        """What `score` and `loss` compare with: the targets."""
        return self.targets

    def fit(self, chosen: NDArray[np.bool_], strength: float) -> Head:
        """Fits to the chosen photos, bool (photos).

        A label that all of them have, or none, has the same logit for every photo.
        """
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        rows, centre, scale = self.centred(chosen)
        targets = np.repeat(self.targets[chosen], self.features.shape[1], axis=0)
        kernel = np.zeros((rows.shape[1], targets.shape[1]))
        with_label = targets.sum(axis=0)
        bias = np.log((with_label + 1) / (len(rows) - with_label + 1))  # of a share, with Laplace's rule of succession
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-4)
        with threadpool_limits(1):  # the products are small, and more threads wait for each other
            for at in np.flatnonzero((with_label > 0) & (with_label < len(rows))):
                model.fit(rows, targets[:, at])
                kernel[:, at] = model.coef_[0] / scale
                bias[at] = model.intercept_[0] - centre @ kernel[:, at]
        return Head(kernel.astype(np.float32), bias.astype(np.float32))

    def score(self, logits: Floats, chosen: NDArray[np.bool_]) -> float:
        """Returns how good logits (n, classes) of the chosen photos are, 0 to 1: their mean average precision."""
        return mean(average_precisions(logits, self.targets[chosen]))

    def loss(self, logits: Floats, chosen: NDArray[np.bool_]) -> tuple[float, float]:
        """Returns the mean binary log-loss of logits of the chosen photos, when they are calibrated, and its error."""
        targets = self.targets[chosen]
        centred = logits - sigmoid_offsets(logits, targets)
        scaled = centred / sigmoid_temperature(centred, targets)
        return mean_and_error(np.logaddexp(0, np.where(targets, -scaled, scaled)).mean(axis=1))

    def groups(self) -> list[list[int]]:
        """Returns no groups: an unknown thing is a photo without labels, which the model is trained on."""
        return []


def shifted(head: Head, found: CrossValidation) -> tuple[Head, CrossValidation]:
    """Returns a head and its cross-validation with the biases that cross-validation asks for; see `sigmoid_offsets`."""
    offsets = sigmoid_offsets(found.logits, found.labels).astype(np.float32)
    return Head(head.kernel, head.bias - offsets), dataclasses.replace(found, logits=found.logits - offsets)
