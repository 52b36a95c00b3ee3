"""The colour of an image: scores by label, and where it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

COLOURS = ("red", "green", "blue")


def colour_scores(images: npt.NDArray[np.generic], labels: tuple[str, ...] = COLOURS) -> npt.NDArray[np.float32]:
    """float32 (n, labels): the share of each colour, in label order."""
    light = images.astype(np.float64).mean(axis=(1, 2)) + 1e-9
    shares = light / light.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(shares[:, [COLOURS.index(label) for label in labels]], np.float32)


def colour_lights(images: npt.NDArray[np.generic], labels: tuple[str, ...] = COLOURS) -> npt.NDArray[np.float32]:
    """float32 (n, labels): how light each channel is, 0 to 1, in label order."""
    lights = images.astype(np.float32).mean(axis=(1, 2)) / 255
    return np.ascontiguousarray(lights[:, [COLOURS.index(label) for label in labels]])


def colour_heat(images: npt.NDArray[np.generic], labels: list[str]) -> npt.NDArray[np.float32]:
    """float32 (n, height, width): how much more there is of a colour at each place than of the other two."""
    channels = images.astype(np.float32) / 255
    own = np.stack([image[..., COLOURS.index(label)] for image, label in zip(channels, labels, strict=True)])
    excess = np.clip(own - (channels.sum(axis=3) - own) / 2, 0, None)
    heat: npt.NDArray[np.float32] = excess / np.maximum(excess.max(axis=(1, 2), keepdims=True), 1e-9)
    return heat
