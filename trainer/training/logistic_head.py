"""A linear head on features: a logistic regression.

The problem is convex, so the result depends neither on a seed nor on a number of epochs. The features are centred and
all divided by the same number. Afterwards, mean and number become part of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MAX_ITERATIONS: Final = 1000

GROUPS: Final = 10
"""Maximum number of groups of classes. Each group is left out in turn, to measure the detection of unknown photos."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """Weights of the last layer: kernel float32 (features, classes), bias float32 (classes)."""

    kernel: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Returns logits float32 (n, classes) of features (n, ...)."""
        return np.asarray(features.reshape(len(features), -1) @ self.kernel + self.bias)


@dataclass(frozen=True)
class Training:
    """Training data: features float32 (photos, views, ...), the plain view first; labels (photos) and their weights.

    `keys` are digests of the photos. They decide on the folds, so that the folds depend only on the photos. With
    `mirrored`, heads are tested on the mean of the first two views, a photo and its mirror image.
    """

    features: Floats
    labels: Integers
    keys: Sequence[bytes]
    class_weights: Floats
    mirrored: bool = field(default=False, kw_only=True)

    def tested(self, mask: NDArray[np.bool_]) -> Floats:
        """Returns the features (n, ...) of the chosen photos, bool (photos), on which heads are tested."""
        views = self.features[mask, : 2 if self.mirrored else 1]
        return np.asarray(views.mean(axis=1))

    @property
    def truth(self) -> NDArray[Any]:
        """The reference of `score` and `loss`: the labels."""
        return self.labels

    def centred(self, mask: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.float64], float]:
        """Returns the features of all views of the chosen photos (rows, features), minus a mean, divided by a scale."""
        rows = self.features[mask].reshape(int(mask.sum()) * self.features.shape[1], -1)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = rows - mean
        scale = float(np.sqrt(np.mean(np.square(rows), dtype=np.float64))) or 1.0
        rows /= scale
        return rows, mean.astype(np.float64), scale

    def fit(self, mask: NDArray[np.bool_], strength: float) -> Head:
        """Fits a head to the chosen photos, bool (photos). Classes without such photos get a bias of -inf."""
        from sklearn.linear_model import LogisticRegression

        rows, mean, scale = self.centred(mask)
        labels = np.repeat(self.labels[mask], self.features.shape[1])
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-4)
        with one_thread():
            model.fit(rows, labels, self.class_weights[labels])
        found_kernel, found_bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
        if len(model.classes_) == 2:  # one column, for the second class: half of it for each
            found_kernel = np.concatenate([-found_kernel, found_kernel]) / 2
            found_bias = np.concatenate([-found_bias, found_bias]) / 2
        kernel = np.zeros((rows.shape[1], len(self.class_weights)))
        bias = np.full(len(self.class_weights), -np.inf)
        kernel[:, model.classes_] = found_kernel.T / scale
        bias[model.classes_] = found_bias - mean @ kernel[:, model.classes_]
        return Head(kernel.astype(np.float32), bias.astype(np.float32))

    def score(self, logits: Floats, mask: NDArray[np.bool_]) -> float:
        """Returns the accuracy of logits (n, classes) of the chosen photos."""
        return float((logits.argmax(axis=1) == self.labels[mask]).mean())

    def loss(self, logits: Floats, mask: NDArray[np.bool_]) -> tuple[float, float]:
        """Returns the log-loss of logits of the chosen photos at the best temperature: mean and standard error."""
        labels = self.labels[mask]
        probabilities = calibrate.softmax(logits, calibrate.fit_temperature(logits, labels))
        return mean_and_error(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)))

    def groups(self) -> list[list[int]]:
        """Returns groups of classes to leave out in turn. Without any one of them, at least two classes are left."""
        classes = len(self.class_weights)
        groups = [list(range(first, classes, min(GROUPS, classes))) for first in range(min(GROUPS, classes))]
        return [group for group in groups if classes - len(group) >= 2]


def one_thread() -> AbstractContextManager[object]:
    """Limits linear algebra to one thread: the products are small, and more threads wait for each other.

    Call it after importing scikit-learn: libraries that are loaded after the first call are not limited.
    """
    limits: AbstractContextManager[object] = _thread_pools().limit(limits=1)
    return limits


@cache
def _thread_pools() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    # Cached, because looking at every library of the process takes longer than a small fit.
    return ThreadpoolController()


def mean_and_error(losses: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the mean of losses (n) and its standard error."""
    return float(losses.mean()), float(losses.std() / math.sqrt(len(losses)))
