"""What every threshold for "unknown" would give."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

STEPS: Final = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdCurve:
    """Rates at thresholds from 0 to 1, each a list of as many values.

    Attributes:
        thresholds: A photo is unknown if its score is below.
        precision: Share of the answered photos whose answer is right; 1 if none is answered.
        recall: Share of all photos of known classes whose answer is given and right.
        unknown: Share of the photos of known classes that are unknown.
        others_known: Share of the photos of other things that are taken for a class; empty without such photos.
    """

    thresholds: list[float]
    precision: list[float]
    recall: list[float]
    unknown: list[float]
    others_known: list[float]


def threshold_curve(known_scores: Floats, right: NDArray[np.bool_], others: Floats) -> ThresholdCurve:
    """Returns the rates at STEPS + 1 thresholds.

    Args:
        known_scores: float (n), n > 0, the score that is compared with the threshold, of photos of known classes.
        right: bool (n), whether the best label is right.
        others: float (m), the score of photos of other things; m may be 0.
    """
    thresholds = np.linspace(0, 1, STEPS + 1)
    order = np.argsort(known_scores, kind="stable")
    scores = known_scores[order]
    # At place i, the photos from i on are answered.
    right_from = np.append(np.cumsum(right[order][::-1])[::-1], 0)
    place = np.searchsorted(scores, thresholds, side="left")
    answered = len(scores) - place
    precision = np.where(answered, right_from[place] / np.maximum(answered, 1), 1.0)
    accepted = len(others) - np.searchsorted(np.sort(others), thresholds, side="left")

    def listed(values: Floats) -> list[float]:
        return [round(value, 4) for value in values.tolist()]

    return ThresholdCurve(
        thresholds=[round(value, 4) for value in thresholds.tolist()],
        precision=listed(precision),
        recall=listed(right_from[place] / len(scores)),
        unknown=listed(place / len(scores)),
        others_known=listed(accepted / len(others)) if len(others) else [],
    )
