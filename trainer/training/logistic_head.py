"""A linear head on features as what it is: a logistic regression.

The problem is convex, so the answer depends neither on a seed nor on a number of epochs. The features keep their
directions: they are centred and divided by one number, which the weights take in afterwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate

MAX_ITERATIONS: Final = 1000

GROUPS: Final = 10
"""Into how many groups classes are divided, at most, to be left out in turn as things that the model does not know."""

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
    """What to fit to: features float32 (photos, views, ...), the plain view first; labels (photos) and their weights.

    `keys` are digests of the photos: they decide on the folds, so that these follow from the photos alone.
    """

    features: Floats
    labels: Integers
    keys: Sequence[bytes]
    class_weights: Floats

    @property
    def truth(self) -> NDArray[Any]:
        """What `score` and `loss` compare with: here, the labels."""
        return self.labels

    def centred(self, chosen: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.float64], float]:
        """Returns the features of all views of the chosen photos (rows, features), minus a mean, divided by a scale."""
        rows = self.features[chosen].reshape(int(chosen.sum()) * self.features.shape[1], -1)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = rows - mean
        scale = float(np.sqrt(np.mean(np.square(rows), dtype=np.float64))) or 1.0
        rows /= scale
        return rows, mean.astype(np.float64), scale

    def fit(self, chosen: NDArray[np.bool_], strength: float) -> Head:
        """Fits to the chosen photos, bool (photos). Classes without any of them have a bias of -inf."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        rows, mean, scale = self.centred(chosen)
        labels = np.repeat(self.labels[chosen], self.features.shape[1])
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-4)
        with threadpool_limits(1):  # the products are small, and more threads wait for each other
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

    def score(self, logits: Floats, chosen: NDArray[np.bool_]) -> float:
        """Returns how good logits (n, classes) of the chosen photos are, 0 to 1: their accuracy."""
        return float((logits.argmax(axis=1) == self.labels[chosen]).mean())

    def loss(self, logits: Floats, chosen: NDArray[np.bool_]) -> tuple[float, float]:
        """Returns the log-loss of logits of the chosen photos at the best temperature: mean and standard error."""
        labels = self.labels[chosen]
        probabilities = calibrate.softmax(logits, calibrate.fit_temperature(logits, labels))
        return mean_and_error(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)))

    def groups(self) -> list[list[int]]:
        """Returns groups of classes to leave out in turn; none where fewer than two classes would be left."""
        classes = len(self.class_weights)
        groups = [list(range(first, classes, min(GROUPS, classes))) for first in range(min(GROUPS, classes))]
        return [group for group in groups if classes - len(group) >= 2]


def mean_and_error(losses: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the mean of losses (n) and its standard error."""
    return float(losses.mean()), float(losses.std() / math.sqrt(len(losses)))
