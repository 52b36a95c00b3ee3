"""The model card: what a client must know about a model, as typed values and as the JSON in the SavedModel."""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.images import FitMode, Interpolation, Target
from trainer.errors import TrainerError

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MULTI_LABEL = "multi-label"
"""The task of models whose photos can have several labels or none."""

SCHEMA = 1
"""Version of the schema in docs/model-contract.md that this module reads and writes."""


@dataclass(frozen=True)
class InputSpec:
    """The input of the model: size in pixels, and how to fit a photo to it."""

    height: int
    width: int
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"

    @property
    def target(self) -> Target:
        """The target for `gateway.images.decode_image`."""
        return Target(self.height, self.width, self.fit, self.interpolation)


@dataclass(frozen=True)
class Backbone:
    """The backbone: its name, and the weights that training began with.

    Attributes:
        name: Name of the network; empty if it is not known.
        weights: `imagenet`, `preset`, `none` or `file`; empty if it is not known.
        source: Where the weights come from; None for random weights.
        licence: SPDX identifier of their licence; None if it is not known.
    """

    name: str
    weights: str
    source: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Card:
    """A model card; docs/model-contract.md describes the fields."""

    name: str
    labels: Sequence[str]
    input: InputSpec
    backbone: Backbone
    description: str = ""
    noun: str | None = None
    question: str | None = None
    other_labels: Sequence[str | None] = ()
    thresholds: Sequence[float] = ()
    training: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    temperature: float = 1.0
    unknown_threshold: float | None = None
    unknown_rule: str = ""
    unknown_rates: Mapping[str, JSON] = field(default_factory=dict)
    label_sets: Mapping[str, JSON] = field(default_factory=dict)
    baseline: Mapping[str, JSON] | None = None
    parity: Mapping[str, JSON] = field(default_factory=dict)
    precision: str = "float32"
    quantization: Mapping[str, JSON] | None = None
    export: Mapping[str, JSON] | None = None
    libraries: Mapping[str, str] = field(
        default_factory=lambda: {
            "python": platform.python_version(),
            "tensorflow": version("tensorflow"),
            "keras": version("keras"),
        }
    )
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    task: str = "image-classification"
    schema: int = SCHEMA

    @property
    def multi_label(self) -> bool:
        """Whether a photo can have several labels or none: those whose scores reach their `thresholds`."""
        return self.task == MULTI_LABEL

    def predicted_labels(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Returns which labels photos get from a multi-label model, bool (n, labels), for scores of the same shape."""
        return probabilities >= np.asarray(self.thresholds, np.float32)

    @property
    def least_set_score(self) -> float | None:
        """The score from which labels belong to the label set of a photo; None if the model has no label sets."""
        score = self.label_sets.get("least_score")
        return None if score is None else float(str(score))

    def known_scores(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the values to compare with `unknown_threshold`, float32 (n).

        With other labels, this is the sum of the scores of the labels, otherwise the best score.

        Args:
            probabilities: float32 (n, labels + other labels).
        """
        labels = probabilities[:, : len(self.labels)]
        return np.asarray(labels.sum(axis=1) if self.other_labels else labels.max(axis=1), np.float32)

    def to_json(self) -> str:
        """Returns the card as a JSON object in ASCII, which every client can hold in a string."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Parses a card and ignores unknown keys.

        Raises:
            TrainerError: It is not JSON, lacks a key, has a value of the wrong type, or another schema.
        """
        try:
            fields = json.loads(text)
            if fields["schema"] != SCHEMA:
                raise TrainerError(
                    f"the model card has schema {fields['schema']!r}; this trainer reads schema {SCHEMA}"
                )
            size = fields["input"]
            spec = InputSpec(int(size["height"]), int(size["width"]), size["fit"], size["interpolation"])
            Target(spec.height, spec.width, spec.fit, spec.interpolation)  # ValueError when there is no such fit
            made = fields["backbone"]
            backbone = Backbone(str(made["name"]), str(made["weights"]), made.get("source"), made.get("licence"))
            simple_fields = {one.name for one in dataclasses.fields(cls)} - {"input", "backbone"}
            rest = {key: value for key, value in fields.items() if key in simple_fields}
            names = {key: tuple(fields.get(key, ())) for key in ("labels", "other_labels", "thresholds")}
            return cls(**{**rest, **names, "input": spec, "backbone": backbone})
        except (ValueError, KeyError, TypeError) as error:
            raise TrainerError(f"not a model card: {type(error).__name__}: {error}") from error
