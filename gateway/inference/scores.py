"""Check the scores of a model and rank its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway import errors
from gateway.inference.outputs import float_output, name_of
from gateway.model_options import Activation
from gateway.pb.serving_pb2 import Tensor
from gateway.serving.contract import Contract
from gateway.tensors.wire import TensorError, array_of

SCORE_DECIMALS = 6
"""Number of significant digits of a score. Padding a batch already changes the seventh."""

ROUNDING = 0.01
"""How far scores may be outside of 0 to 1: the next number after 1 is 1.008 in bfloat16."""

SUM_TOLERANCE = 0.05
"""How far from 1 the scores of a softmax may sum: those of half precision are off by as much as 0.01."""

MAX_CLASSES = 1_000_000
"""Maximum number of scores for one image."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one image.

    Attributes:
        values: float32 (classes), 0 to 1.
        labels: The name of each, if the model returns names; otherwise, positions are classes.
    """

    values: npt.NDArray[np.float32]
    labels: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The answer to one image.

    Attributes:
        predictions: Labels and scores, best first.
        label: The best label, with a multi-label model the best one over its threshold; None if the image is unknown
            to the model, or has none of its labels.
        confidence: Score of that label, or of the first prediction if there is none.
        looks_like: What an unknown image shows, if the model has a name for it.
        label_set: The labels that contain the true one with a known probability, best first; None if the model has no
            label sets or the image is unknown.
        labels: All labels whose scores reach their thresholds, best first; None if the model is not multi-label.
        margin: How near the answer of a multi-label model is to another one, from 0 to 1: the smallest distance of a
            score from its threshold, in relation to the largest possible distance on its side. None for other models.
    """

    predictions: tuple[tuple[str, float], ...]
    label: str | None
    confidence: float
    looks_like: str | None = None
    label_set: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    margin: float | None = None

    def says_the_same(self, other: Ranked) -> bool:
        """Whether two versions give the same labels, or if one is not multi-label, rank the same label first."""
        if self.labels is not None and other.labels is not None:
            return set(self.labels) == set(other.labels)
        return self.predictions[0][0] == other.predictions[0][0]


def checked_scores(contract: Contract, outputs: Mapping[str, Tensor], images_sent: int) -> list[Scores]:
    """Extract the scores of each image that was sent from an answer. A sigmoid becomes two classes.

    Raises:
        ModelServerFailed: The answer has the wrong shape or is not finite.
        UnsupportedModel: The scores are not probabilities.
    """
    name = name_of(contract)
    rows = max(images_sent, contract.batch_size)
    array = float_output(contract, outputs, contract.output_name, "scores", max_elements=rows * MAX_CLASSES)
    scores = _rows(array, rows, contract.batch_size)
    if scores is None:
        raise errors.ModelServerFailed(f"{name} returned scores of shape {array.shape} for {rows} images.")
    lowest, highest = float(scores.min()), float(scores.max())  # NaN where one is
    if not math.isfinite(lowest) or not math.isfinite(highest):
        raise errors.ModelServerFailed(f"{name} returned scores that are not numbers.")
    if contract.activation is not None:
        scores = _activated(scores, contract.activation)
    elif lowest < 0 or highest > 1:
        if lowest < -ROUNDING or highest > 1 + ROUNDING:
            raise errors.UnsupportedModel(
                f"{name} returned scores from {lowest:.3g} to {highest:.3g}, which are not probabilities. Put a "
                "softmax or a sigmoid at its end, or set its option activation."
            )
        scores = scores.clip(0, 1)
    if contract.label_output is not None:
        names = _labels_in_answer(contract, outputs.get(contract.label_output), scores.shape)
        return [Scores(values, labels) for values, labels in zip(scores, names, strict=True)][:images_sent]
    if contract.multi_label:
        if scores.shape[1] == 1 and not contract.labels:
            raise errors.UnsupportedModel(
                f"{name} returned a single score, but its option multi_label needs a score for each label."
            )
    elif contract.sigmoid or (scores.shape[1] == 1 and len(contract.labels) in (0, 2)):
        scores = np.concatenate([1 - scores, scores], axis=1)
    labels = len(contract.labels) + len(contract.other_labels)
    if labels and scores.shape[1] != labels:
        raise errors.ModelServerFailed(f"{name} returned {scores.shape[1]} scores for {labels} labels.")
    return [Scores(values) for values in scores[:images_sent]]


def rank_labels(contract: Contract, scores: Scores, top_k: int) -> Ranked:
    """Rank the labels of one image by its scores (labels + other labels)."""
    values, labels = scores.values, scores.labels or contract.labels
    others = values[len(values) - len(contract.other_labels) :]
    values = values[: len(values) - len(others)]
    order = (-values).argsort(kind="stable")

    def labels_at(indexes: npt.NDArray[np.intp]) -> tuple[str, ...]:
        return tuple(labels[index] if labels else str(index) for index in indexes.tolist())

    def score(index: np.intp) -> float:
        return round(float(values[index]), SCORE_DECIMALS)

    best = order[:top_k]
    predictions = tuple(zip(labels_at(best), map(score, best), strict=True))
    if contract.thresholds is not None:
        thresholds = np.asarray(contract.thresholds, np.float32)
        over = values >= thresholds
        inside = order[over[order]]
        margin = _threshold_margin(values, thresholds, over)
        if not len(inside):
            return Ranked(predictions, None, predictions[0][1], labels=(), margin=margin)
        reached = labels_at(inside)
        return Ranked(predictions, reached[0], score(inside[0]), labels=reached, margin=margin)
    threshold = contract.unknown_threshold
    known_score = float(values.sum() if len(others) else values[best[0]])
    if threshold is None or known_score >= threshold:
        label_set = None
        if contract.least_set_score is not None:
            label_set = labels_at(order[: int(np.count_nonzero(values >= contract.least_set_score))])
        return Ranked(predictions, *predictions[0], label_set=label_set)
    looks_like = contract.other_labels[int(others.argmax())] if len(others) else None
    return Ranked(predictions, None, predictions[0][1], looks_like)


def independent(contract: Contract, scores: Sequence[Scores]) -> bool:
    """Whether scores do not sum to 1, unlike those of a softmax, although the model is not declared multi-label."""
    if contract.card is not None or contract.multi_label or contract.label_output is not None:
        return False
    return any(abs(float(one.values.sum()) - 1) > SUM_TOLERANCE for one in scores)


def _threshold_margin(
    values: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32], over: npt.NDArray[np.bool_]
) -> float:
    """The smallest distance of a score from its threshold, 0 to 1.

    It is in relation to the largest possible one on its side. Otherwise, a low threshold would leave no room for labels
    that an image surely does not have.
    """
    room = np.where(over, 1 - thresholds, thresholds)
    distances = np.abs(values - thresholds) / np.maximum(room, np.finfo(np.float32).tiny)
    return round(float(distances.min()), SCORE_DECIMALS)


def _activated(logits: npt.NDArray[np.float32], activation: Activation) -> npt.NDArray[np.float32]:
    """Probabilities (n, classes) of logits of the same shape, without overflow."""
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    else:
        scores = 0.5 + 0.5 * np.tanh(0.5 * logits)
    return np.asarray(scores, np.float32)


def _rows(array: npt.NDArray[np.float32], images: int, batch_size: int) -> npt.NDArray[np.float32] | None:
    """Scores (n, classes) of an array (n, classes), (n, 1, 1, classes) or (n); of one image also without n."""
    if batch_size == 0 and array.ndim <= 1:
        array = array.reshape(1, -1)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim < 2 or len(array) != images or not array.size or math.prod(array.shape[1:-1]) != 1:
        return None
    return array.reshape(images, array.shape[-1])


def _labels_in_answer(contract: Contract, tensor: Tensor | None, shape: tuple[int, ...]) -> list[list[str]]:
    """The labels that an answer names beside its scores (n, k)."""
    name = name_of(contract)
    if tensor is None:
        raise errors.ModelServerFailed(f"{name} returned no labels.")
    try:
        array = array_of(tensor, max_elements=math.prod(shape))
    except TensorError as error:
        raise errors.ModelServerFailed(f"{name} returned labels that cannot be parsed.") from error
    if array.size != math.prod(shape):
        raise errors.ModelServerFailed(f"{name} returned labels of shape {array.shape} for scores of shape {shape}.")
    rows = array.reshape(shape).tolist()
    if array.dtype == object:
        return [[label.decode("utf-8", "replace") for label in row] for row in rows]
    if not contract.labels:
        return [[str(index) for index in row] for row in rows]
    if array.min() < 0 or array.max() >= len(contract.labels):
        raise errors.ModelServerFailed(
            f"{name} returned a class index that is not one of its {len(contract.labels)} labels."
        )
    return [[contract.labels[index] for index in row] for row in rows]
