"""The syntax of a traffic split, which a setting or a file holds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, TypeAdapter
from pydantic_core import from_json

MAX_NAME_LENGTH = 128
"""Maximum length of a version label or number."""


def _parsed(value: object) -> object:
    """Parse JSON, and the weights in it that are strings."""
    if isinstance(value, str | bytes):
        try:
            value = from_json(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        return value
    return {model: _weights(weights) if isinstance(weights, str) else weights for model, weights in value.items()}


def _weights(text: str) -> dict[str, float]:
    """Parse weights such as ``stable=95,canary=5``."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError as error:
            raise ValueError(f"expected label=weight, not {part.strip()!r}") from error
    return weights


def _positive(value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    for model, weights in value.items():
        if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) < float("inf"):
            raise ValueError(f"the weights of {model!r} must not be negative, and at least one must be positive")
        for name in weights:
            if not 0 < len(name) <= MAX_NAME_LENGTH:
                raise ValueError(f"a version label of {model!r} has {len(name)} characters, not 1 to {MAX_NAME_LENGTH}")
    return value


TrafficShares = Annotated[dict[str, dict[str, float]], BeforeValidator(_parsed), AfterValidator(_positive)]
"""For each model, version labels (or numbers) and their weights."""

TRAFFIC_SHARES: TypeAdapter[dict[str, dict[str, float]]] = TypeAdapter(TrafficShares)
"""Reads and validates a traffic split in JSON."""
