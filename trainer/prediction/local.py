"""Classify photos with an exported model in this process."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.images import ImageError, decode_image
from trainer.export.saved_classifier import SavedClassifier
from trainer.prediction.pipeline import content, in_order, read_in_order
from trainer.prediction.records import Failure, Record
from trainer.prediction.sources import Photo
from trainer.registry.publish import is_version

BATCH_SIZE = 16

THREADS = min(8, 2 * (os.cpu_count() or 1))
"""Threads that read and decode while the model computes."""

SCORE_DECIMALS = 6
"""As in the answers of the gateway."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class LocalModel:
    """The newest version in `models/NAME`, or the version `models/NAME/VERSION`.

    Args:
        directory: The directory of the model or of the version.
        top_k: Number of labels to return.

    Raises:
        TrainerError: There is no exported model.
    """

    def __init__(self, directory: Path, top_k: int) -> None:
        self._model = SavedClassifier(directory)
        self._card = self._model.card
        version = self._model.directory.name
        self.name = self._card.name
        self.version = int(version) if is_version(version) else None
        self.top_k = min(top_k, len(self._card.labels))
        self.multi_label = self._card.multi_label

    def answers(self, photos: Iterable[Photo]) -> Iterator[Record]:
        """Yields one record for each photo, in order. Threads decode up to three batches ahead."""
        batch: list[tuple[str, Pixels | Failure]] = []
        with ThreadPoolExecutor(THREADS) as pool:
            for decoded in in_order(pool, self._decode, read_in_order(photos), 3 * BATCH_SIZE):
                batch.append(decoded)
                if len(batch) == BATCH_SIZE:
                    yield from self._answer(batch)
                    batch = []
            yield from self._answer(batch)

    def close(self) -> None:
        """Does nothing: the model belongs to this process."""

    def _decode(self, photo: Photo) -> tuple[str, Pixels | Failure]:
        data = content(photo)
        try:
            return photo.name, data if isinstance(data, Failure) else decode_image(data, self._card.input.target)
        except ImageError as error:
            return photo.name, Failure(error.code, str(error))

    def _answer(self, batch: list[tuple[str, Pixels | Failure]]) -> Iterator[Record]:
        images = [one for _, one in batch if not isinstance(one, Failure)]
        rows = iter(self._model.probabilities(np.stack(images)) if images else ())
        for name, item in batch:
            if isinstance(item, Failure):
                yield Record(name, failure=item)
            else:
                yield self._record(name, next(rows))

    def _record(self, name: str, row: Floats) -> Record:
        card = self._card
        scores, others = row[: len(card.labels)], row[len(card.labels) :]
        best = (-scores).argsort(kind="stable")[: self.top_k]
        labels: tuple[str, ...] | None = None
        confidence = float(scores.max())
        if card.multi_label:
            order = (-scores).argsort(kind="stable").tolist()
            predicted = card.predicted_labels(scores)
            labels = tuple(card.labels[at] for at in order if predicted[at])
            unknown = not labels
            if labels:
                confidence = float(scores[predicted].max())
        else:
            threshold = card.unknown_threshold
            unknown = threshold is not None and float(card.known_scores(row[np.newaxis])[0]) < threshold
        return Record(
            file=name,
            predictions=tuple((card.labels[at], round(float(scores[at]), SCORE_DECIMALS)) for at in best.tolist()),
            unknown=unknown,
            looks_like=card.other_labels[int(others.argmax())] if unknown and len(others) else None,
            model=self.name,
            version=self.version,
            labels=labels,
            confidence=round(confidence, SCORE_DECIMALS),
        )
