"""The model card: what a client must know of a model, as typed values and as the JSON in the SavedModel."""

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

SCHEMA = 1
"""Version of the table in docs/model-contract.md that this module reads and writes."""


@dataclass(frozen=True)
class InputSpec:
    """What a photo is made into before the model sees it: size in pixels, and how it gets there."""

    height: int
    width: int
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"

    @property
    def target(self) -> Target:
        """The same, for `gateway.images.decode_image`."""
        return Target(self.height, self.width, self.fit, self.interpolation)


@dataclass(frozen=True)
class Backbone:
    """The network under the head: its name, and where its weights came from (`imagenet`, `none` or `file`)."""

    name: str
    weights: str


@dataclass(frozen=True)
class Card:
    """A model card, field by field as docs/model-contract.md has it."""

    name: str
    labels: Sequence[str]
    input: InputSpec
    backbone: Backbone
    description: str = ""
    other_labels: Sequence[str | None] = ()
    training: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    temperature: float = 1.0
    unknown_threshold: float | None = None
    unknown_rule: str = ""
    unknown_rates: Mapping[str, JSON] = field(default_factory=dict)
    label_sets: Mapping[str, JSON] = field(default_factory=dict)
    parity: Mapping[str, JSON] = field(default_factory=dict)
    precision: str = "float32"
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

    def known(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what `unknown_threshold` is compared with, float32 (n), for probabilities (n, labels + other labels).

        It is the sum of the labels' scores. Without other labels that is always 1, and the best score stands for it.
        """
        labels = probabilities[:, : len(self.labels)]
        return np.asarray(labels.sum(axis=1) if self.other_labels else labels.max(axis=1), np.float32)

    def to_json(self) -> str:
        """Returns the card as one JSON object in ASCII, so that every client's string type can hold it."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads a card; keys that it does not know are ignored.

        Raises:
            TrainerError: Not a card: not JSON, a key missing, a value of the wrong type, or a newer schema.
        """
        try:
            found = json.loads(text)
            if found["schema"] != SCHEMA:
                raise TrainerError(f"the model card has schema {found['schema']!r}; this trainer reads schema {SCHEMA}")
            size = found["input"]
            spec = InputSpec(int(size["height"]), int(size["width"]), size["fit"], size["interpolation"])
            Target(spec.height, spec.width, spec.fit, spec.interpolation)  # ValueError when there is no such fit
            backbone = Backbone(str(found["backbone"]["name"]), str(found["backbone"]["weights"]))
            known = {one.name for one in dataclasses.fields(cls)} - {"input", "backbone"}
            rest = {key: value for key, value in found.items() if key in known}
            names = {key: tuple(found.get(key, ())) for key in ("labels", "other_labels")}
            return cls(**{**rest, **names, "input": spec, "backbone": backbone})
        except (ValueError, KeyError, TypeError) as error:
            raise TrainerError(f"not a model card: {type(error).__name__}: {error}") from error
