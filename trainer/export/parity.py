"""Proof that what is served is what was trained: the Keras model and its exports, run on the same photos."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateway.images import ImageError, decode_image
from trainer.errors import TrainerError
from trainer.model_card import JSON, InputSpec

LIMIT = 1e-4
"""Largest difference of a probability between Keras and `pixels` that an export may have."""

SAME_TOP1 = 0.99
"""The share of photos that should get the same best class from `serving_default` as from Keras."""

PHOTOS = 16
"""How many photos an export is compared on, at most."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """Largest differences of a probability between the Keras model and its exports.

    `pixels_same_top1` is the share of photos that get the same best class; in float32 all but ties.
    `serving_default` decodes by TensorFlow rather than by gateway.images, so its difference is stated, with the share
    of photos that get the same best class; a photo that TensorFlow cannot decode (WebP) is left out of both. `h5` is
    None where HDF5 cannot hold the network. `openvino` and `openvino_heatmap` are those of the network for OpenVINO,
    the latter against `explain`; None where there is no such network. `drawn`: the photos are patterns, because no
    photo was given.
    """

    photos: int
    drawn: bool
    pixels: float
    pixels_same_top1: float
    h5: float | None
    serving_default: float
    serving_default_same_top1: float
    openvino: float | None = None
    openvino_heatmap: float | None = None

    def to_json(self) -> dict[str, JSON]:
        """Returns the `parity` of a model card."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Runners:
    """The things compared: each takes photos and gives probabilities float32 (n, classes) in label order.

    `serving_default` takes one encoded photo and gives None when it cannot decode it.
    """

    keras: Callable[[NDArray[np.uint8]], Floats]
    pixels: Callable[[NDArray[np.uint8]], Floats]
    h5: Callable[[NDArray[np.uint8]], Floats] | None
    serving_default: Callable[[bytes], dict[int, float] | None]


def decodable(photos: Sequence[bytes], spec: InputSpec) -> tuple[list[bytes], NDArray[np.uint8], bool]:
    """Returns at most PHOTOS of the encoded photos, evenly chosen, and their pixels uint8 (n, height, width, 3).

    Photos that cannot be decoded are left out; where that leaves none, patterns are drawn instead: the last value.
    """
    kept: list[bytes] = []
    pixels: list[NDArray[np.uint8]] = []
    for photo in photos[:: max(1, -(-len(photos) // PHOTOS))]:
        try:
            pixels.append(decode_image(photo, spec.target))
        except ImageError:
            continue
        kept.append(photo)
    if not kept:
        return *decodable(_patterns(spec), spec)[:2], True
    return kept, np.stack(pixels), False


def _patterns(spec: InputSpec, count: int = 4) -> list[bytes]:
    """Smooth random colours at the model's own size, as PNG: for a model that is exported without photos."""
    generator = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), np.uint8))
        stream = BytesIO()
        coarse.resize((spec.width, spec.height), Image.Resampling.BICUBIC).save(stream, "PNG")
        photos.append(stream.getvalue())
    return photos


def measure(
    runners: Runners, photos: Sequence[bytes], pixels: NDArray[np.uint8], labels: int, *, drawn: bool
) -> Parity:
    """Runs all on the same photos, which are those of `decodable`, and returns how far they are apart.

    `labels` is the number of labels; what else the model scores comes after them, and `serving_default` leaves it out.
    """
    expected, exported = runners.keras(pixels), runners.pixels(pixels)
    decoded = [
        (row, found) for row, photo in zip(expected, photos, strict=True) if (found := runners.serving_default(photo))
    ]
    apart = [abs(row[index] - score) for row, found in decoded for index, score in found.items()]
    same = [int(row[:labels].argmax()) == max(found, key=found.__getitem__) for row, found in decoded]
    return Parity(
        photos=len(photos),
        drawn=drawn,
        pixels=float(np.abs(expected - exported).max()),
        pixels_same_top1=float(np.mean(expected.argmax(axis=1) == exported.argmax(axis=1))),
        h5=float(np.abs(expected - runners.h5(pixels)).max()) if runners.h5 else None,
        serving_default=float(max(apart, default=0.0)),
        serving_default_same_top1=float(np.mean(same)) if same else 1.0,
    )


def check(difference: float, what: str) -> None:
    """Refuses an export that does not compute what was trained.

    Raises:
        TrainerError: The difference is over LIMIT, or not a number.
    """
    if not difference <= LIMIT:
        raise TrainerError(
            f"the export is refused: {what} differs from the Keras model by {difference:.2g}; {LIMIT:g} is allowed"
        )
