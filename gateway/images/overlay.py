"""Paint a heat map over a photo."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

COLD, HOT = (13, 26, 92), (255, 214, 10)
"""Colours for no evidence and for the most evidence: dark blue and bright yellow, distinct in grey and with every kind
of colour blindness. The page uses the same colours."""

COLD_OPACITY, HOT_OPACITY = 0.62, 0.55


@dataclass(frozen=True, slots=True)
class Box:
    """Edges in fractions of a photo: 0 is its left or top, 1 its right or bottom. They may be outside of it."""

    left: float
    top: float
    right: float
    bottom: float


def paint_heat(photo: npt.NDArray[np.uint8], heatmap: npt.NDArray[np.float32], box: Box) -> bytes:
    """Paint a heat map over a photo.

    Args:
        photo: uint8 (height, width, 3), RGB, upright.
        heatmap: float32 (h, w), 0 to 1.
        box: The area that the map covers. Outside of it, the photo is dimmed like areas without evidence.

    Returns:
        A PNG file of the photo's size.
    """
    height, width = photo.shape[:2]
    heat = _stretched(heatmap, box, width, height)[..., np.newaxis]
    colour = np.array(COLD, np.float32) * (1 - heat) + np.array(HOT, np.float32) * heat
    # Opaque for low and high values, transparent in between.
    opacity = np.where(heat < 0.5, COLD_OPACITY * (1 - 2 * heat), HOT_OPACITY * (2 * heat - 1))
    painted = photo * (1 - opacity) + colour * opacity
    buffer = io.BytesIO()
    Image.fromarray(np.rint(painted).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _stretched(heatmap: npt.NDArray[np.float32], box: Box, width: int, height: int) -> npt.NDArray[np.float32]:
    """The map resized to the photo, float32 (height, width); 0 outside of its box."""
    left, right = box.left * width, box.right * width
    top, bottom = box.top * height, box.bottom * height
    # The pixels with their centre in the box, and the corresponding part of the map.
    first, last = max(0, round(left)), min(width, round(right))
    upper, lower = max(0, round(top)), min(height, round(bottom))
    stretched = np.zeros((height, width), np.float32)
    if first >= last or upper >= lower:
        return stretched
    rows, columns = heatmap.shape
    across, down = columns / (right - left), rows / (bottom - top)
    part = (
        max(0.0, (first - left) * across),
        max(0.0, (upper - top) * down),
        min(float(columns), (last - left) * across),
        min(float(rows), (lower - top) * down),
    )
    resized = Image.fromarray(heatmap).resize((last - first, lower - upper), Image.Resampling.BICUBIC, part)
    stretched[upper:lower, first:last] = np.clip(np.asarray(resized), 0, 1)
    return stretched
