"""Choose the strength of a logistic head by cross-validation, and measure the head on held-out photos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.console import Advance, progress
from trainer.training.logistic_head import Floats, Head, Integers, Training

STRENGTHS: Final = (0.01, 0.1, 1.0)
"""Inverse strengths of the regularisation, strongest first, for features with a variance of 1 on average."""

PARTS: Final = (0.125, 0.25, 0.5)
"""Parts of the photos for the learning curve, besides all photos."""


@dataclass(frozen=True)
class CrossValidation:
    """Answers of heads to photos that they were not trained on.

    Attributes:
        tested: Positions of these photos (n). All others are the only photo of their class.
        logits: float32 (n, classes), from the fold that left the photo out.
        labels: The true classes (n); of a multi-label data set, which labels each photo has, bool (n, classes).
        fold_scores: The accuracy of each fold, or the mean average precision.
        left_out: Logits float32 (m, classes) of photos of left-out classes, -inf in the columns of these classes.
        losses: The log-loss of each strength tried, mean and standard error.
        learning_curve: Scores of heads that were trained on parts of the photos; see the function `learning_curve`.
    """

    tested: Integers
    logits: Floats
    labels: NDArray[Any]
    fold_scores: list[float]
    left_out: Floats
    losses: dict[float, tuple[float, float]]
    learning_curve: list[tuple[int, int, float]]


def fit_head(
    training: Training, folds: int, strengths: Sequence[float] = STRENGTHS
) -> tuple[Head, CrossValidation | None]:
    """Fits a head to all photos, with the strength that cross-validation chooses.

    This is the strongest regularisation whose log-loss is within one standard error of the best one (one-standard-error
    rule, Hastie et al. 2009, section 7.10). All views of a photo are in the same fold.

    Args:
        training: The training data.
        folds: Number of folds.
        strengths: Inverse strengths to choose from, strongest regularisation first.

    Returns:
        The head, and the result of the cross-validation; None if no class has two photos.
    """
    everything = np.ones(len(training.labels), bool)
    held_out = hold_out(training, folds, strengths)
    if held_out is None:
        return training.fit(everything, strengths[len(strengths) // 2]), None
    strength, tested = held_out.strength, np.flatnonzero(held_out.fold >= 0)
    folds_tested = [held_out.fold == number for number in np.unique(held_out.fold[tested])]
    none = np.zeros((0, len(training.class_weights)), np.float32)
    groups = training.groups()
    left_out = [none]
    if groups:
        with progress("Leaving out classes", len(groups)) as advance:
            for logits in _left_out(training, groups, strength):
                left_out.append(logits)
                advance()
    result = CrossValidation(
        tested,
        held_out.logits[tested],
        training.truth[tested],
        [training.score(held_out.logits[fold], fold) for fold in folds_tested],
        np.concatenate(left_out),
        held_out.losses,
        learning_curve(training, held_out),
    )
    return training.fit(everything, strength), result


@dataclass(frozen=True)
class HeldOut:
    """Logits of each photo from a head that was trained without it, at the chosen strength.

    `logits`: float32 (photos, classes). `fold`: int (photos), -1 for the only photo of a class, which has no logits.
    `losses`: the log-loss of each strength, mean and standard error.
    """

    logits: Floats
    fold: Integers
    strength: float
    losses: dict[float, tuple[float, float]]


def hold_out(training: Training, folds: int, strengths: Sequence[float] = STRENGTHS) -> HeldOut | None:
    """Cross-validates heads of each strength; see `fit_head`. Returns None if no class has two photos."""
    fold = assign_folds(training.labels, training.keys, folds)
    numbers = [int(number) for number in np.unique(fold[fold >= 0])]
    if len(numbers) < 2:
        return None
    tried = {}
    with progress("Cross-validating the head", len(strengths) * len(numbers)) as advance:
        for strength in strengths:
            tried[strength] = _held_out(training, fold, numbers, strength, advance)
    tested = fold >= 0
    losses = {one: training.loss(logits[tested], tested) for one, logits in tried.items()}
    best = min(losses.values())
    strength = next(one for one in strengths if losses[one][0] <= sum(best))
    return HeldOut(tried[strength], fold, strength, losses)


def learning_curve(training: Training, held_out: HeldOut) -> list[tuple[int, int, float]]:
    """Returns the score by number of photos: training photos, tested photos and score, fewest photos first.

    For each fold, heads are trained on a part of the other photos, the same part of each class, and tested on the fold.
    The last point is the cross-validation itself.
    """
    fold, points = held_out.fold, []
    tested = fold >= 0
    numbers = [int(number) for number in np.unique(fold[tested])]
    count = int(tested.sum())
    with progress("Fitting to fewer photos", len(PARTS) * len(numbers)) as advance:
        for part in PARTS:
            logits, photos = np.zeros_like(held_out.logits), 0
            for number in numbers:
                subset = _part(training, fold != number, part)
                head = training.fit(subset, held_out.strength)
                logits[fold == number] = head.logits(training.tested(fold == number))
                photos += int(subset.sum())
                advance()
            points.append((round(photos / len(numbers)), count, training.score(logits[tested], tested)))
    photos = round(len(fold) - count / len(numbers))
    return [*points, (photos, count, training.score(held_out.logits[tested], tested))]


def _part(training: Training, mask: NDArray[np.bool_], part: float) -> NDArray[np.bool_]:
    """Returns the first part of the chosen photos of each class in the order of the keys, at least one photo."""
    inside = np.zeros(len(mask), bool)
    for label in np.unique(training.labels[mask]):
        mine = sorted(np.flatnonzero(mask & (training.labels == label)), key=lambda at: training.keys[int(at)])
        inside[mine[: max(1, round(part * len(mine)))]] = True
    return inside


def assign_folds(labels: Integers, keys: Sequence[bytes], folds: int) -> Integers:
    """Returns the fold of each photo, class by class in the order of the keys; -1 for the only photo of a class."""
    fold = np.full(len(labels), -1, np.int64)
    for label in np.unique(labels):
        mine = sorted(np.flatnonzero(labels == label), key=lambda at: keys[int(at)])
        if len(mine) > 1:
            fold[mine] = (np.arange(len(mine)) + label) % folds  # the classes' first photos are not all in one fold
    return fold


def _held_out(training: Training, fold: Integers, numbers: Sequence[int], strength: float, advance: Advance) -> Floats:
    logits = np.zeros((len(training.labels), len(training.class_weights)), np.float32)
    for number in numbers:
        logits[fold == number] = training.fit(fold != number, strength).logits(training.tested(fold == number))
        advance()
    return logits


def _left_out(training: Training, groups: Sequence[Sequence[int]], strength: float) -> Iterator[Floats]:
    for group in groups:
        others = np.isin(training.labels, group)
        yield training.fit(~others, strength).logits(training.tested(others))
