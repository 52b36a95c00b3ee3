"""Accuracy on parts of the photos: small and large, dark and bright, blurred and sharp."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.quality import Quality
from trainer.evaluation.intervals import Interval, wilson_interval

MIN_PHOTOS: Final = 10
"""Slices of fewer photos are left out: their accuracy means little."""


@dataclass(frozen=True)
class Slice:
    """Accuracy on a part of the photos, with its 95 % interval.

    `unknown` is the share of the part that is unknown; None if the model has no threshold.
    """

    group: str
    name: str
    photos: int
    accuracy: float
    interval: Interval
    unknown: float | None


def slices(
    measured: Sequence[Quality | None],
    right: NDArray[np.bool_],
    unknown: NDArray[np.bool_] | None,
    input_side: int,
) -> tuple[Slice, ...]:
    """Returns the accuracy by size, shape, brightness and sharpness. Photos without measures are left out.

    Brightness and sharpness are divided into thirds of the photos.

    Args:
        measured: Measures of each photo.
        right: bool (photos), whether the best label is right.
        unknown: bool (photos), or None if the model has no threshold.
        input_side: The smaller side of the input of the model, in pixels.
    """
    positions = np.array([at for at, one in enumerate(measured) if one is not None], np.int64)
    qualities = [one for one in measured if one is not None]
    if not qualities:
        return ()
    shorter = np.array([min(one.width, one.height) for one in qualities])
    shape = np.array([one.width / one.height for one in qualities])
    masks: list[tuple[str, str, NDArray[np.bool_]]] = [
        ("size", f"shorter side under {input_side} pixels", shorter < input_side),
        ("size", f"{input_side} to {2 * input_side} pixels", (shorter >= input_side) & (shorter <= 2 * input_side)),
        ("size", f"over {2 * input_side} pixels", shorter > 2 * input_side),
        ("shape", "portrait", shape < 0.9),
        ("shape", "about square", (shape >= 0.9) & (shape <= 1.1)),
        ("shape", "landscape", shape > 1.1),
    ]
    for group, names, values in (
        ("brightness", ("darkest third", "middle third", "brightest third"), [one.brightness for one in qualities]),
        ("sharpness", ("most blurred third", "middle third", "sharpest third"), [one.sharpness for one in qualities]),
    ):
        third = np.argsort(np.argsort(values, kind="stable"), kind="stable") * 3 // len(values)
        masks += [(group, name, third == at) for at, name in enumerate(names)]
    results = []
    for group, name, inside in masks:
        photos = positions[inside]
        if MIN_PHOTOS <= len(photos) < len(qualities):
            count = int(right[photos].sum())
            share = None if unknown is None else float(unknown[photos].mean())
            interval = wilson_interval(count, len(photos))
            results.append(Slice(group, name, len(photos), count / len(photos), interval, share))
    return tuple(results)
