"""Scores of a model to ranked labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway import errors
from gateway.pb.serving_pb2 import Tensor
from gateway.serving.contract import Contract
from gateway.tensors.wire import TensorError, number_array

Scores = npt.NDArray[np.float32]

SCORE_DECIMALS = 6
"""Digits of a score that mean something: padding a batch already moves the seventh."""

ROUNDING = 0.01
"""How far scores may be outside of 0 to 1: the next number after 1 is 1.008 in bfloat16."""

MAX_CLASSES = 1_000_000
"""Most scores of one image that are read."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One image's answer.

    Attributes:
        predictions: Labels and scores, best first.
        unknown: Whether the scores are under the model's threshold.
        looks_like: What an unknown image shows instead, where the model has a name for it.
    """

    predictions: tuple[tuple[str, float], ...]
    unknown: bool
    looks_like: str | None = None


def checked_scores(contract: Contract, tensor: Tensor | None, images_sent: int) -> Scores:
    """Scores (n, classes), 0 to 1, out of an answer; a sigmoid becomes two classes.

    Raises:
        ModelServerFailed: The answer is of another shape, or not finite.
        UnsupportedModel: The scores are not probabilities.
    """
    name = f"The model {contract.model!r} version {contract.version}"
    if tensor is None:
        raise errors.ModelServerFailed(f"{name} left out its scores.")
    try:
        scores = np.asarray(number_array(tensor, max_elements=images_sent * MAX_CLASSES), np.float32)
    except TensorError as error:
        raise errors.ModelServerFailed(f"{name} gave scores that cannot be read.") from error
    if scores.ndim != 2 or len(scores) != images_sent or scores.shape[1] < 1:
        raise errors.ModelServerFailed(f"{name} gave scores of shape {scores.shape} for {images_sent} images.")
    lowest, highest = float(scores.min()), float(scores.max())  # NaN where one is
    if not math.isfinite(lowest) or not math.isfinite(highest):
        raise errors.ModelServerFailed(f"{name} gave scores that are not numbers.")
    if lowest < 0 or highest > 1:
        if lowest < -ROUNDING or highest > 1 + ROUNDING:
            raise errors.UnsupportedModel(
                f"{name} gave scores from {lowest:.3g} to {highest:.3g}, which are not probabilities: it must end in a "
                "softmax or a sigmoid."
            )
        scores = scores.clip(0, 1)
    if contract.sigmoid or (scores.shape[1] == 1 and len(contract.labels) in (0, 2)):
        scores = np.concatenate([1 - scores, scores], axis=1)
    labels = len(contract.labels) + len(contract.other_labels)
    if labels and scores.shape[1] != labels:
        raise errors.ModelServerFailed(f"{name} gave {scores.shape[1]} scores for {labels} labels.")
    return scores


def rank_labels(contract: Contract, scores: Scores, top_k: int) -> Ranked:
    """The best labels of one image, given its scores (labels + other labels)."""
    others = scores[len(scores) - len(contract.other_labels) :]
    scores = scores[: len(scores) - len(others)]
    best = (-scores).argsort(kind="stable")[:top_k]
    predictions = tuple(
        (contract.labels[index] if contract.labels else str(index), round(float(scores[index]), SCORE_DECIMALS))
        for index in best.tolist()
    )
    threshold = contract.unknown_threshold
    known = float(scores.sum() if len(others) else scores[best[0]])
    if threshold is None or known >= threshold:
        return Ranked(predictions, unknown=False)
    return Ranked(predictions, True, contract.other_labels[int(others.argmax())] if len(others) else None)
