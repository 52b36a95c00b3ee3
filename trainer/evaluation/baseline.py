"""The baseline in a model card: what a version answers to photos that it was not trained on.

The gateway compares its answers in production with it.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.model_card import JSON, Card

BINS = 10
"""Bins of confidence, of equal width. The gateway's histogram has the same."""


def baseline(card: Card, probabilities: NDArray[np.float64]) -> dict[str, JSON]:
    """Returns the entry `baseline` of a model card; docs/model-contract.md describes it.

    Args:
        card: Labels and threshold of the model.
        probabilities: float64 (n, labels + other labels), n > 0.
    """
    count = len(probabilities)
    scores = probabilities[:, : len(card.labels)]
    best = scores.argmax(axis=1)
    if card.multi_label:
        predicted = card.predicted_labels(scores.astype(np.float32))
        is_known = predicted.any(axis=1)
        best = np.where(is_known, np.where(predicted, scores, -1).argmax(axis=1), best)
    else:
        threshold = 0.0 if card.unknown_threshold is None else card.unknown_threshold
        is_known = card.known_scores(probabilities.astype(np.float32)) >= threshold
    answered = np.bincount(best[is_known], minlength=len(card.labels))
    upper_bounds = np.arange(1, BINS + 1) / BINS
    confidence = scores[np.arange(count), best]
    places = np.minimum(np.searchsorted(upper_bounds, confidence), BINS - 1)
    return {
        "photos": count,
        "labels": {
            label: round(number / count, 6) for label, number in zip(card.labels, answered.tolist(), strict=True)
        },
        "unknown": round(float((~is_known).mean()), 6),
        "confidence": (np.bincount(places, minlength=BINS) / count).round(6).tolist(),
    }
