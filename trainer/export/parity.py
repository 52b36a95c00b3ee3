"""Compare the Keras model with its exports on the same photos, so that what is served is what was trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateway.images import ImageError, decode_image
from trainer.data.photos import evenly
from trainer.errors import TrainerError
from trainer.model_card import JSON, InputSpec

LIMIT = 1e-4
"""Maximum difference of a probability between Keras and the signature `pixels`."""

SAME_TOP1 = 0.99
"""Minimum share of photos with the same best class from `serving_default` as from Keras; below, there is a warning."""

PHOTOS = 16
"""Maximum number of photos on which an export is compared."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """Largest differences of a probability between the Keras model and its exports.

    `pixels_same_top1` is the share of photos that get the same best class; in float32, all except for ties.
    `serving_default` decodes with TensorFlow instead of `gateway.images`, so it may differ more. Photos that TensorFlow
    cannot decode (WebP) do not count there. `h5` is 0, because that file must be identical, or None if HDF5 cannot
    store the network. `openvino` and `openvino_heatmap` are for the network for OpenVINO, the latter compared with
    `explain`; None without such a network. If `drawn`, the photos are generated patterns, because there were no photos.
    """

    photos: int
    drawn: bool
    pixels: float
    pixels_same_top1: float
    serving_default: float
    serving_default_same_top1: float
    h5: float | None = None
    openvino: float | None = None
    openvino_heatmap: float | None = None

    def to_json(self) -> dict[str, JSON]:
        """Returns the `parity` of a model card."""
        return dataclasses.asdict(self)


def decodable(photos: Sequence[bytes], spec: InputSpec) -> tuple[list[bytes], NDArray[np.uint8], bool]:
    """Returns at most PHOTOS of the encoded photos, evenly chosen, and their pixels uint8 (n, height, width, 3).

    Photos that cannot be decoded are left out. If none is left, patterns are generated, and the last value is True.
    """
    kept: list[bytes] = []
    pixels: list[NDArray[np.uint8]] = []
    for photo in evenly(photos, PHOTOS):
        try:
            pixels.append(decode_image(photo, spec.target))
        except ImageError:
            continue
        kept.append(photo)
    if not kept:
        return *decodable(_patterns(spec), spec)[:2], True
    return kept, np.stack(pixels), False


def _patterns(spec: InputSpec, count: int = 4) -> list[bytes]:
    """Smooth random colours in the input size of the model, as PNG, for an export without photos."""
    generator = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), np.uint8))
        stream = BytesIO()
        coarse.resize((spec.width, spec.height), Image.Resampling.BICUBIC).save(stream, "PNG")
        photos.append(stream.getvalue())
    return photos


def measure(
    expected: Floats, exported: Floats, encoded: Sequence[Mapping[int, float] | None], labels: int, *, drawn: bool
) -> Parity:
    """Returns the largest differences between answers to the same photos; `h5` stays None.

    Args:
        expected: Probabilities float32 (n, classes) of Keras, in label order.
        exported: The same of `pixels`.
        encoded: The best ones of `serving_default` by index; None if it cannot decode the photo.
        labels: Number of labels. Other labels follow them, and `serving_default` leaves them out.
        drawn: Whether the photos are patterns.
    """
    decoded = [(row, scores) for row, scores in zip(expected, encoded, strict=True) if scores]
    apart = [abs(row[index] - score) for row, scores in decoded for index, score in scores.items()]
    same = [int(row[:labels].argmax()) == max(scores, key=scores.__getitem__) for row, scores in decoded]
    return Parity(
        photos=len(expected),
        drawn=drawn,
        pixels=float(np.abs(expected - exported).max()),
        pixels_same_top1=float(np.mean(expected.argmax(axis=1) == exported.argmax(axis=1))),
        serving_default=float(max(apart, default=0.0)),
        serving_default_same_top1=float(np.mean(same)) if same else 1.0,
    )


def check(difference: float, what: str) -> None:
    """Refuses an export that differs from the Keras model.

    Raises:
        TrainerError: The difference is over LIMIT, or not a number.
    """
    if not difference <= LIMIT:
        raise TrainerError(
            f"the export is refused: {what} differs from the Keras model by {difference:.2g}; {LIMIT:g} is allowed"
        )
