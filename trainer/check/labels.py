"""Find photos whose label is probably wrong, and classes that are hard to tell apart, from cross-validated scores."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ALIKE: Final = 0.1
"""Two classes are alike if at least this share of their photos is taken for the other of the two."""

HARDLY_SEPARABLE: Final = 0.25
"""The same share, above which the classes can hardly be told apart: guessing between the two gives 0.5."""

LEAST_CONFUSED: Final = 3
"""Photos of a pair that must be confused before it is mentioned: one or two may be wrong labels."""


@dataclass(frozen=True)
class LabelError:
    """A photo whose label is probably wrong.

    Attributes:
        photo: Its position.
        suggested: Position of the label that it should probably have.
        score: Score of that label, 0 to 1.
        given_score: Score of the label that it has, 0 to 1.
    """

    photo: int
    suggested: int
    score: float
    given_score: float


@dataclass(frozen=True)
class AlikeClasses:
    """Two classes, the number of their photos that are taken for the other one, and that number as a share."""

    first: int
    second: int
    confused: int
    share: float


def label_errors(probabilities: Floats, labels: Integers) -> list[LabelError]:
    """Returns photos whose labels are probably wrong, most certain first.

    This is confident learning (Northcutt et al. 2021, section 3.1). The threshold of a class is the mean score that its
    own photos have for it. A photo probably belongs to the class with the highest score of those whose threshold it
    reaches; if that is not the class of its label, the label is an error. Errors are ordered by the difference between
    the two scores.

    Args:
        probabilities: float (n, classes), from models that were fitted without the photo.
        labels: int (n), the labels that photos have.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    # A class without photos has no threshold that could be reached.
    thresholds = np.where(counts, np.bincount(labels, own, classes) / np.maximum(counts, 1), np.inf)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = reached.argmax(axis=1)
    wrong = np.flatnonzero(
        (reached.max(axis=1) >= 0) & (suggested != labels) & (probabilities.argmax(axis=1) != labels)
    )
    found = [
        LabelError(int(at), int(suggested[at]), float(probabilities[at, suggested[at]]), float(own[at])) for at in wrong
    ]
    return sorted(found, key=lambda one: one.given_score - one.score)


def alike_classes(probabilities: Floats, labels: Integers) -> list[AlikeClasses]:
    """Returns pairs of classes that are often taken for each other, most confused first; arguments as above."""
    classes = probabilities.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    counts = np.bincount(labels, minlength=classes)
    found = []
    for first, second in np.argwhere(np.triu(confusion + confusion.T, 1) >= LEAST_CONFUSED).tolist():
        confused = int(confusion[first, second] + confusion[second, first])
        share = confused / int(counts[first] + counts[second])
        if share >= ALIKE:
            found.append(AlikeClasses(first, second, confused, share))
    return sorted(found, key=lambda one: -one.share)
