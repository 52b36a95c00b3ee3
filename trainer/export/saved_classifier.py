"""Run an exported SavedModel as a model server does: through its signatures and its model card."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gateway.images import ImageError, decode_image
from trainer.errors import TrainerError
from trainer.evaluation.metrics import Answer
from trainer.model_card import Card
from trainer.registry.publish import is_version

BATCH_SIZE = 8
WORKERS = min(8, 2 * (os.cpu_count() or 1))

Signature = Literal["pixels", "serving_default"]
"""Signature to call: `pixels` for photos that `gateway.images` decodes, as in the gateway, or `serving_default`."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class SavedClassifier:
    """An exported model, loaded from `models/<name>/<version>`, or the newest version in `models/<name>`.

    Raises:
        TrainerError: There is no SavedModel, or it does not follow docs/model-contract.md.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = _version_directory(directory)
        try:
            self._model = tf.saved_model.load(str(self.directory))
            self._pixels = self._model.signatures["pixels"]
            self._serving_default = self._model.signatures["serving_default"]
            card = self._model.signatures["describe"](request=tf.zeros(1, tf.int32))["card"]
        except KeyError as error:
            raise TrainerError(
                f"{self.directory} has no signature {error}: it was not exported by this trainer"
            ) from error
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise TrainerError(f"{self.directory} cannot be loaded as a SavedModel: {reason}") from error
        self.card = Card.from_json(card.numpy()[0].decode())

    def probabilities(self, images: Pixels) -> Floats:
        """Returns probabilities for images uint8 (n, height, width, 3), RGB: float32 (n, labels + other labels)."""
        probabilities: Floats = self._pixels(images=tf.constant(images))["probabilities"].numpy()
        return probabilities

    def embeddings(self, images: Pixels) -> Floats:
        """Returns embeddings for images uint8 (n, height, width, 3), RGB: float32 (n, d), each with the length 1.

        Raises:
            TrainerError: The model has no embeddings, because an older trainer exported it.
        """
        embed = self._model.signatures.get("embed")
        if embed is None:
            raise TrainerError(f"{self.directory} has no signature embed; `breed export` adds it")
        embeddings: Floats = embed(images=tf.constant(images))["embedding"].numpy()
        return embeddings

    def answers(self, photos: Sequence[Path], signature: Signature = "pixels") -> Iterator[Answer]:
        """Yields one answer for each photo, in order.

        Threads read the photos (and decode them for `pixels`) a few batches ahead of the model, so memory does not grow
        with their number.
        """
        read, ahead = self._decode if signature == "pixels" else _read, 3 * BATCH_SIZE
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: deque[Future[Pixels | bytes | str]] = deque()
            try:
                waiting.extend(pool.submit(read, photo) for photo in photos[:ahead])
                for start in range(0, len(photos), BATCH_SIZE):
                    batch = photos[start : start + BATCH_SIZE]
                    inputs = []
                    for at in range(start, start + len(batch)):
                        inputs.append(waiting.popleft().result())
                        if at + ahead < len(photos):
                            waiting.append(pool.submit(read, photos[at + ahead]))
                    yield from self._answer(batch, inputs)
            finally:
                for future in waiting:
                    future.cancel()

    def _decode(self, photo: Path) -> Pixels | str:
        data = _read(photo)
        try:
            return data if isinstance(data, str) else decode_image(data, self.card.input.target)
        except ImageError as error:
            return str(error)

    def _answer(self, batch: Sequence[Path], inputs: Sequence[Pixels | bytes | str]) -> Iterator[Answer]:
        images = [one for one in inputs if isinstance(one, np.ndarray)]
        encoded = [one for one in inputs if isinstance(one, bytes)]
        rows = iter((*(self.probabilities(np.stack(images)) if images else ()), *self._by_tensorflow(encoded)))
        for path, content in zip(batch, inputs, strict=True):
            row = content if isinstance(content, str) else next(rows)
            if isinstance(row, str):
                yield Answer(path, None, row)
            else:
                known_score = float(self.card.known_scores(row[np.newaxis])[0])
                yield Answer(path, row[: len(self.card.labels)], known_score=known_score)

    def _by_tensorflow(self, photos: Sequence[bytes]) -> list[Floats | str]:
        if not photos:
            return []
        try:
            best = self._serving_default(image_bytes=tf.constant(photos))
        except tf.errors.InvalidArgumentError:
            if len(photos) == 1:
                return ["TensorFlow cannot decode it: serving_default takes JPEG, PNG, GIF and BMP"]
            return [row for photo in photos for row in self._by_tensorflow([photo])]
        order = {label.encode(): at for at, label in enumerate(self.card.labels)}
        rows = np.zeros((len(photos), len(order)), np.float32)
        for row, classes, scores in zip(rows, best["classes"].numpy(), best["scores"].numpy(), strict=True):
            row[[order[label] for label in classes]] = scores
        return list(rows)


def _read(photo: Path) -> bytes | str:
    try:
        return photo.read_bytes()
    except OSError as error:
        return error.strerror or str(error)


def _version_directory(directory: Path) -> Path:
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = [entry for entry in directory.glob("*/saved_model.pb") if is_version(entry.parent.name)]
    if not versions:
        raise TrainerError(f"{directory} holds no SavedModel: give models/<name>/<version>")
    return max(versions, key=lambda entry: int(entry.parent.name)).parent
