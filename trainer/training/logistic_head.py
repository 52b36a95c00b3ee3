"""A linear head on features as what it is: a logistic regression.

The problem is convex, so the answer depends neither on a seed nor on a number of epochs. The features keep their
directions: they are centred and divided by one number, which the weights take in afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_ITERATIONS: Final = 1000

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

    def fit(self, chosen: NDArray[np.bool_], strength: float) -> Head:
        """Fits to the chosen photos, bool (photos). Classes without any of them have a bias of -inf."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        views = self.features.shape[1]
        rows = self.features[chosen].reshape(int(chosen.sum()) * views, -1)
        labels = np.repeat(self.labels[chosen], views)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = rows - mean
        scale = float(np.sqrt(np.mean(np.square(rows), dtype=np.float64))) or 1.0
        rows /= scale
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
        bias[model.classes_] = found_bias - mean.astype(np.float64) @ kernel[:, model.classes_]
        return Head(kernel.astype(np.float32), bias.astype(np.float32))
