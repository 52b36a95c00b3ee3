"""A model behind a gateway, for evaluations: also of models that say nothing about themselves."""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainer.errors import TrainerError
from trainer.evaluation.metrics import Answer
from trainer.model_card import SCHEMA, Backbone, Card, InputSpec
from trainer.prediction.records import Record
from trainer.prediction.remote import RemoteModel
from trainer.prediction.sources import Photo, read_file

ALL_LABELS: Final = sys.maxsize
"""Value of `top_k` for all labels; `RemoteModel` requests no more labels than the model has."""

UNKNOWN_BACKBONE: Final = Backbone("", "")


class RemoteClassifier:
    """A model that a gateway serves.

    Args:
        url: Address of the gateway.
        model: `NAME`, `NAME/VERSION` or `NAME/LABEL`.
        key: API key, if the gateway wants one.
        patience: Seconds for which a request is repeated before the evaluation ends.

    Raises:
        TrainerError: The gateway cannot be reached, does not have the model, or does not know its labels or thresholds;
            or the model card cannot be read.
    """

    def __init__(self, url: str, model: str, key: str | None, patience: float) -> None:
        self._model = RemoteModel(url, model, ALL_LABELS, key, patience)
        try:
            self.directory = Path(self._model.name, str(self._model.detail["version"]))
            self.card = _card(self._model.detail)
        except BaseException:
            self.close()
            raise

    def answers(self, photos: Sequence[Path], _signature: str = "pixels") -> Iterator[Answer]:
        """Yields one answer for each photo, in order. The gateway decides which signature it calls.

        Raises:
            TrainerError: The gateway does not answer, refuses a request, or returns fewer labels than the model has.
        """
        sent = (Photo(str(path), partial(read_file, str(path))) for path in photos)
        try:
            for path, record in zip(photos, self._model.answers(sent), strict=True):
                yield self._answer(path, record)
        except TrainerError as error:
            if "top_k must be at most" not in str(error):
                raise
            count = len(self.card.labels)
            raise TrainerError(
                f"an evaluation needs the scores of all {count} labels of {self._model.name}: set max_top_k of the "
                f"gateway to {count} or more ({error})"
            ) from error

    def close(self) -> None:
        """Closes the connections."""
        self._model.close()

    def _answer(self, path: Path, record: Record) -> Answer:
        if record.failure is not None:
            return Answer(path, None, record.failure.detail)
        scores = dict(record.predictions)
        row = np.array([scores.get(label, 0.0) for label in self.card.labels], np.float32)
        return Answer(path, row, known_score=float(self.card.known_scores(row[np.newaxis])[0]))


def _card(detail: dict[str, Any]) -> Card:
    if detail["card"] is not None:
        return _card_with_defaults(detail["name"], detail["card"])
    if not detail["labels"]:
        raise TrainerError(f"the gateway does not know the labels of {detail['name']}; set its option labels")
    if detail["multi_label"]:
        raise TrainerError(f"{detail['name']} has several labels for a photo, and no model card with their thresholds")
    size = detail["input"]
    return Card(
        detail["name"],
        tuple(detail["labels"]),
        InputSpec(size["height"], size["width"], size["fit"]),
        UNKNOWN_BACKBONE,
        unknown_threshold=detail["unknown_threshold"],
        precision="",
        libraries={},
        created="",
    )


def _card_with_defaults(name: str, card: dict[str, Any]) -> Card:
    """The model card, which may lack what the trainer writes into it and the gateway does not use."""
    fields = {key: value for key, value in card.items() if value is not None}
    defaults = {"schema": SCHEMA, "name": name, "precision": "", "libraries": {}, "created": ""}
    try:
        nested = {
            "input": {"fit": "crop", "interpolation": "bilinear"} | fields["input"],
            "backbone": dataclasses.asdict(UNKNOWN_BACKBONE) | fields.get("backbone", {}),
        }
        if "coverage" not in fields.get("label_sets", {}):  # there is nothing to compare what is measured with
            nested["label_sets"] = {}
        return Card.from_json(json.dumps(defaults | fields | nested))
    except (TrainerError, KeyError, TypeError) as error:
        raise TrainerError(f"the model card of {name}, as the gateway returns it, cannot be read: {error}") from error
