"""Small networks and their exports, for tests that only read them."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.export.saved_model import Exported

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)

LEAST_SET_SCORE = 0.3
"""The score from which a label belongs to the label set of a photo."""

Run = Callable[..., dict[str, NDArray[np.generic]]]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Small:
    """A small model and its export."""

    model: keras.Model
    directory: Path
    exported: Exported

    def logits(self) -> NDArray[np.float64]:
        return np.asarray(self.model(IMAGES.astype(np.float32)), np.float64)


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
