"""A linear head on features as what it is: a logistic regression, with its strength chosen by cross-validation.

The problem is convex, so the answer depends neither on a seed nor on a number of epochs. The features keep their
directions: they are centred and divided by one number, which the weights take in afterwards.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.console import Advance, progress
from trainer.evaluation import calibrate

STRENGTHS: Final = (0.01, 0.1, 1.0)
"""Inverse strengths of the regularisation, strongest first, for features with a variance of 1 on average."""

GROUPS: Final = 10
"""Into how many groups classes are divided, at most, to be left out in turn as things that the model does not know."""

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
class CrossValidation:
    """What heads said of photos that they were not fitted on.

    `logits`, float32 (n, classes), are those of each photo by the fold that left it out; `labels` (n) the truth;
    `fold` (n) the number of the fold. `left_out`, float32 (m, classes), are those of photos of classes that a head was
    not told of, whose own columns are -inf. `losses` has the log-loss of each strength tried, mean and standard error.
    """

    logits: Floats
    labels: Integers
    fold: Integers
    left_out: Floats
    losses: dict[float, tuple[float, float]]

    def accuracies(self) -> list[float]:
        """Returns the accuracy of each fold."""
        right = self.logits.argmax(axis=1) == self.labels
        return [float(right[self.fold == fold].mean()) for fold in np.unique(self.fold)]


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


def fit_head(training: Training, folds: int) -> tuple[Head, CrossValidation | None]:
    """Fits a head to all photos, with the strength that cross-validation chooses.

    That is the strongest regularisation whose log-loss is within one standard error of the best one (the rule of one
    standard error: Hastie et al. 2009, section 7.10). Views of a photo are always in the same fold.

    Args:
        training: What to fit to.
        folds: Of the cross-validation.

    Returns:
        The head, and what the cross-validation found; None where no class has two photos.
    """
    everything = np.ones(len(training.labels), bool)
    held_out = hold_out(training, folds)
    if held_out is None:
        return training.fit(everything, STRENGTHS[1]), None
    strength, tested = held_out.strength, held_out.fold >= 0
    none = np.zeros((0, len(training.class_weights)), np.float32)
    groups = class_groups(training)
    with progress("Leaving out classes", len(groups)) as advance:
        left_out = [none]
        for logits in _left_out(training, groups, strength):
            left_out.append(logits)
            advance()
    found = CrossValidation(
        held_out.logits[tested],
        training.labels[tested],
        held_out.fold[tested],
        np.concatenate(left_out),
        held_out.losses,
    )
    return training.fit(everything, strength), found


@dataclass(frozen=True)
class HeldOut:
    """Logits of each photo by a head that was fitted without it, at the strength that gives the best ones.

    `logits`: float32 (photos, classes). `fold`: int (photos), -1 for the only photo of a class, which has no logits.
    `losses`: the log-loss of each strength, mean and standard error.
    """

    logits: Floats
    fold: Integers
    strength: float
    losses: dict[float, tuple[float, float]]


def hold_out(training: Training, folds: int) -> HeldOut | None:
    """Cross-validates heads of each strength; see `fit_head`. Returns None where no class has two photos."""
    fold = assign_folds(training.labels, training.keys, folds)
    numbers = [int(number) for number in np.unique(fold[fold >= 0])]
    if len(numbers) < 2:
        return None
    tried = {}
    with progress("Cross-validating the head", len(STRENGTHS) * len(numbers)) as advance:
        for strength in STRENGTHS:
            tried[strength] = _held_out(training, fold, numbers, strength, advance)
    tested = fold >= 0
    losses = {one: _loss(logits[tested], training.labels[tested]) for one, logits in tried.items()}
    best = min(losses.values())
    strength = next(one for one in STRENGTHS if losses[one][0] <= sum(best))
    return HeldOut(tried[strength], fold, strength, losses)


def assign_folds(labels: Integers, keys: Sequence[bytes], folds: int) -> Integers:
    """Returns the fold of each photo, class by class in the order of the keys; -1 for the only photo of a class."""
    fold = np.full(len(labels), -1, np.int64)
    for label in np.unique(labels):
        mine = sorted(np.flatnonzero(labels == label), key=lambda at: keys[int(at)])
        if len(mine) > 1:
            fold[mine] = (np.arange(len(mine)) + label) % folds  # the classes' first photos are not all in one fold
    return fold


def class_groups(training: Training) -> list[list[int]]:
    """Returns groups of classes to leave out in turn; none where fewer than two classes would be left."""
    classes = len(training.class_weights)
    groups = [list(range(first, classes, min(GROUPS, classes))) for first in range(min(GROUPS, classes))]
    return [group for group in groups if classes - len(group) >= 2]


def _held_out(training: Training, fold: Integers, numbers: Sequence[int], strength: float, advance: Advance) -> Floats:
    logits = np.zeros((len(training.labels), len(training.class_weights)), np.float32)
    for number in numbers:
        logits[fold == number] = training.fit(fold != number, strength).logits(training.features[fold == number, 0])
        advance()
    return logits


def _left_out(training: Training, groups: Sequence[Sequence[int]], strength: float) -> Iterator[Floats]:
    for group in groups:
        others = np.isin(training.labels, group)
        yield training.fit(~others, strength).logits(training.features[others, 0])


def _loss(logits: Floats, labels: Integers) -> tuple[float, float]:
    """Mean log-loss at its best temperature, and its standard error."""
    probabilities = calibrate.softmax(logits, calibrate.fit_temperature(logits, labels))
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12))
    return float(losses.mean()), float(losses.std() / math.sqrt(len(losses)))
