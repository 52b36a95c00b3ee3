"""Shapes that drawings are built of, in a plane of their own: x to the right, y downwards."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from trainer.scenery import Colour, shade

Points = NDArray[np.float64]  # (n, 2)


@dataclass
class Figure:
    """Shapes in the order in which they are painted."""

    parts: list[tuple[list[Points], Colour, bool]] = field(default_factory=list)
    strokes: dict[int, list[tuple[Points, Colour, float]]] = field(default_factory=dict)

    def add(self, colour: Colour, *shapes: Points, outline: bool = True) -> None:
        """Adds shapes of one colour; an outline runs round all of them together."""
        self.parts.append((list(shapes), colour, outline))

    def stroke(self, colour: Colour, line: Points, width: float) -> None:
        """Adds an open line on top of what was added so far."""
        self.strokes.setdefault(len(self.parts), []).append((line, colour, width))

    def paint(self, draw: ImageDraw.ImageDraw, place: Callable[[Points], Points], scale: float) -> None:
        """Paints all shapes; `place` takes the figure's plane to the canvas, `scale` is pixels a unit."""
        edge = 0.016 * scale
        for index, (shapes, colour, outlined) in enumerate(self.parts):
            placed = [[(x, y) for x, y in place(shape)] for shape in shapes]
            if outlined:
                for shape in placed:
                    draw.line(
                        [*shape, shape[0], shape[1]], fill=shade(colour, 0.35), width=round(2 * edge), joint="curve"
                    )
            for shape in placed:
                draw.polygon(shape, fill=colour)
            for line, ink, width in self.strokes.get(index + 1, []):
                draw.line([(x, y) for x, y in place(line)], fill=ink, width=max(1, round(width * scale)), joint="curve")


def limb(start: tuple[float, float], radius: float, end: tuple[float, float], end_radius: float) -> Points:
    """The outline round two circles: a leg, a neck, a body."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    half = np.linspace(math.pi / 2, 3 * math.pi / 2, 14)
    back = np.stack([np.cos(half + angle), np.sin(half + angle)], axis=1) * radius + start
    front = np.stack([np.cos(half + angle + math.pi), np.sin(half + angle + math.pi)], axis=1) * end_radius + end
    return np.concatenate([back, front])


def disc(centre: tuple[float, float], radius: float, *, squash: float = 1.0, scallops: int = 0) -> Points:
    """A circle, an ellipse, or (with scallops) a woolly ball."""
    angles = np.linspace(0, 2 * math.pi, 12 * max(scallops, 3), endpoint=False)
    wave = 1 + (0.09 * np.abs(np.sin(angles * scallops / 2)) if scallops else 0)
    return np.stack([np.cos(angles) * wave, np.sin(angles) * wave * squash], axis=1) * radius + centre


def curve(*knots: tuple[float, float]) -> Points:
    """A smooth closed line through the knots (a Catmull-Rom spline)."""
    p = np.array(knots, dtype=np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, 6, endpoint=False)[None, :, None]
    p, before, after, beyond = (q[:, None, :] for q in (p, before, after, beyond))
    line = 0.5 * (
        2 * p + (after - before) * t + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    )  # fmt: skip
    return np.asarray(line).reshape(-1, 2)


def turned(shape: Points, angle: float, pivot: tuple[float, float]) -> Points:
    """A shape turned about a pivot, clockwise as seen, in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray((shape - pivot) @ np.array([[cos, sin], [-sin, cos]]) + pivot)
