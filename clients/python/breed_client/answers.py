"""Answers of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from breed_client.errors import ApiError, error_of, error_of_problem


@dataclass(frozen=True)
class Prediction:
    """One label and its score, from 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True)
class Classification:
    """What a photo shows.

    Attributes:
        label: The best label, of a multi-label model the best one over its threshold; None if the photo is unknown to
            the model or has none of its labels.
        looks_like: What an unknown photo shows, if the model has a name for it.
        confidence: Score of that label, or of the first of `predictions` if there is none.
        predictions: The best labels and their scores, best first.
        model: Name of the model that answered.
        version: Its version.
        labels: All labels of the photo, best first, if the model is multi-label; otherwise None.
    """

    label: str | None
    looks_like: str | None
    confidence: float
    predictions: tuple[Prediction, ...]
    model: str
    version: int
    labels: tuple[str, ...] | None = None


Result = Classification | ApiError
"""What became of one photo of several."""


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
        ApiError: The answer is an error, or does not come from a gateway.
    """
    if not response.is_success:
        raise error_of(response)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        detail = "The server answered, but not as a gateway does."
        raise ApiError(response.status_code, f"http_{response.status_code}", detail)
    return answer


def classification_of(answer: Mapping[str, Any], model: Mapping[str, Any]) -> Classification:
    """The classification in an answer, or in an item of a batch."""
    return Classification(
        label=answer["breed"] if "breed" in answer else answer["label"],
        looks_like=answer.get("looks_like"),
        confidence=answer["confidence"],
        predictions=tuple(Prediction(one["label"], one["score"]) for one in answer["predictions"]),
        model=model["name"],
        version=model["version"],
        labels=tuple(answer["labels"]) if "labels" in answer else None,
    )


def results_of(answer: Mapping[str, Any]) -> Sequence[Result]:
    """The results in the answer to a batch."""
    return [
        error_of_problem(one["error"]) if "error" in one else classification_of(one, answer["model"])
        for one in answer["results"]
    ]
