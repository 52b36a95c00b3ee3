"""Running an exported SavedModel as a server would: through its signatures, knowing only what its card says."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gateway.images import ImageError, decode_image
from trainer.card import Card
from trainer.errors import TrainerError
from trainer.publish import is_version

BATCH_SIZE = 32
WORKERS = min(8, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Answer:
    """What a model said of one photo: probabilities float32 (classes), or why the photo could not be read."""

    path: Path
    probabilities: NDArray[np.float32] | None
    error: str = ""


class SavedClassifier:
    """An exported model, loaded from `models/<name>/<version>`, or from `models/<name>` in its newest version.

    Raises:
        TrainerError: There is no SavedModel, or it does not follow docs/model-contract.md.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = _version_directory(directory)
        try:
            self._model = tf.saved_model.load(str(self.directory))
            self._pixels = self._model.signatures["pixels"]
            card = self._model.signatures["describe"](request=tf.zeros(1, tf.int32))["card"]
        except KeyError as error:
            raise TrainerError(
                f"{self.directory} has no signature {error}: it was not exported by this trainer"
            ) from error
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise TrainerError(f"{self.directory} cannot be loaded as a SavedModel: {reason}") from error
        self.card = Card.from_json(card.numpy()[0].decode())

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns probabilities float32 (n, classes) in label order for images uint8 (n, height, width, 3), RGB."""
        found: NDArray[np.float32] = self._pixels(images=tf.constant(images))["probabilities"].numpy()
        return found

    def answers(self, photos: Sequence[Path]) -> Iterator[Answer]:
        """Yields one answer for each photo, in order.

        Photos are decoded by gateway.images in threads, a few batches ahead of the model: what is in memory does not
        grow with their number.
        """
        ahead = 3 * BATCH_SIZE
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: deque[Future[NDArray[np.uint8] | str]] = deque()
            try:
                waiting.extend(pool.submit(self._decode, photo) for photo in photos[:ahead])
                for start in range(0, len(photos), BATCH_SIZE):
                    batch = photos[start : start + BATCH_SIZE]
                    decoded = []
                    for at in range(start, start + len(batch)):
                        decoded.append(waiting.popleft().result())
                        if at + ahead < len(photos):
                            waiting.append(pool.submit(self._decode, photos[at + ahead]))
                    yield from self._answer(batch, decoded)
            finally:
                for future in waiting:
                    future.cancel()

    def _decode(self, photo: Path) -> NDArray[np.uint8] | str:
        try:
            return decode_image(photo.read_bytes(), self.card.input.target)
        except OSError as error:
            return error.strerror or str(error)
        except ImageError as error:
            return str(error)

    def _answer(self, batch: Sequence[Path], decoded: Sequence[NDArray[np.uint8] | str]) -> Iterator[Answer]:
        images = [image for image in decoded if not isinstance(image, str)]
        rows = iter(self.probabilities(np.stack(images)) if images else ())
        for path, image in zip(batch, decoded, strict=True):
            yield Answer(path, None, image) if isinstance(image, str) else Answer(path, next(rows))


def _version_directory(directory: Path) -> Path:
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = [entry for entry in directory.glob("*/saved_model.pb") if is_version(entry.parent.name)]
    if not versions:
        raise TrainerError(f"{directory} holds no SavedModel: give models/<name>/<version>")
    return max(versions, key=lambda entry: int(entry.parent.name)).parent
