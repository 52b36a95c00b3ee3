"""Check that all compared systems return the same answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

ABSOLUTE, RELATIVE = 2e-5, 2e-3
"""Tolerance for scores: batching and rounding to six digits change them."""


class Disagreement(Exception):
    """Two systems returned different answers for a photo."""


def check_scores(name: str, photo: int, expected: Sequence[float], actual: Sequence[float]) -> None:
    """Compares the scores of all classes with those of the reference.

    Raises:
        Disagreement: They differ.
    """
    if len(expected) != len(actual):
        raise Disagreement(f"{name}, photo {photo}: {len(actual)} scores instead of {len(expected)}")
    for index, (expected_score, score) in enumerate(zip(expected, actual, strict=True)):
        if not _close(expected_score, score):
            raise Disagreement(f"{name}, photo {photo}, class {index}: {score} instead of {expected_score}")


def check_predictions(
    name: str, photo: int, labels: Sequence[str], expected: Sequence[float], predictions: Sequence[Mapping[str, object]]
) -> None:
    """Compares ranked labels and scores with the scores of the reference.

    Near ties may be in either order, so the score at each rank and the score of each label are compared.

    Raises:
        Disagreement: They differ.
    """
    ranked = sorted(expected, reverse=True)
    score_of = dict(zip(labels, expected, strict=True))
    if not predictions:
        raise Disagreement(f"{name}, photo {photo}: no predictions")
    for rank, prediction in enumerate(predictions):
        label, score = str(prediction["label"]), float(str(prediction["score"]))
        if label not in score_of:
            raise Disagreement(f"{name}, photo {photo}: {label!r} is not a label of the model")
        if not (_close(ranked[rank], score) and _close(score_of[label], score)):
            raise Disagreement(
                f"{name}, photo {photo}, rank {rank + 1}: {label} {score}; {label} has {score_of[label]:.6f} "
                f"and that rank {ranked[rank]:.6f}"
            )


def check_labels(name: str, photo: int, labels: Sequence[str], predictions: Sequence[Mapping[str, object]]) -> None:
    """Checks only that there are predictions with labels of the model, for systems that compute in 8 bits.

    The export measures how far their scores are off.

    Raises:
        Disagreement: There are none, or they have other labels.
    """
    if not predictions or not {str(one["label"]) for one in predictions} <= set(labels):
        raise Disagreement(f"{name}, photo {photo}: no predictions of the model's labels: {predictions}")


def predictions_of(body: bytes) -> list[dict[str, object]]:
    """The ranked predictions in an HTTP answer.

    Raises:
        Disagreement: There are none.
    """
    try:
        predictions = json.loads(body)["predictions"]
    except (ValueError, KeyError, TypeError) as error:
        raise Disagreement(f"not an answer with predictions: {body[:200]!r}") from error
    return list(predictions)


def _close(expected: float, actual: float) -> bool:
    return abs(expected - actual) <= ABSOLUTE + RELATIVE * abs(expected)
