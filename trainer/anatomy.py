"""The parts of a drawn dog: legs, tail, head, and the marks of its breed."""

import math
from collections.abc import Sequence

import numpy as np

from trainer.breeds import BLACK, BROWN, SLATE, Breed
from trainer.scenery import Colour, shade
from trainer.shapes import Figure, Points, curve, disc, limb, turned


def vary(colour: Colour, rng: np.random.Generator) -> Colour:
    """A coat as one dog has it: near the colour of its breed."""
    red, green, blue = np.clip(np.array(colour) * rng.uniform(0.90, 1.07) + rng.normal(0, 3, 3), 24, 250).astype(int)
    return int(red), int(green), int(blue)


def leg_shapes(
    breed: Breed, hip: tuple[float, float], shoulder: tuple[float, float], rng: np.random.Generator, *, near: bool
) -> list[Points]:
    """Thigh, shank and paw of a hind and a fore leg, mid-step; the far ones are set a little apart."""
    width, shapes = breed.leg_width, []
    for x, y, swing_sign in ((hip[0], hip[1], 1), (shoulder[0], shoulder[1], -1)):
        swing = rng.uniform(-0.10, 0.16) * swing_sign * (1 if near else -1) * min(1.0, breed.leg / 0.5)
        offset = 0.0 if near else 0.09 * swing_sign
        knee = (x + offset + swing * 0.4 - 0.03 * (swing_sign == 1), y + breed.leg * 0.55)
        foot = (x + offset + swing, breed.leg - width * 0.6)
        thigh = width * (1.9 if swing_sign == 1 else 1.5)
        shapes += [limb((x + offset, y + 0.05), thigh, knee, width), limb(knee, width, foot, width * 0.9)]
        shapes.append(
            limb((foot[0], foot[1] + width * 0.1), width * 0.9, (foot[0] + width, foot[1] + width * 0.15), width * 0.8)
        )
    return shapes


def add_legs(
    figure: Figure,
    breed: Breed,
    hip: tuple[float, float],
    shoulder: tuple[float, float],
    colour: Colour,
    rng: np.random.Generator,
    *,
    near: bool,
) -> None:
    """Adds the two legs of a side, with the pompoms of a breed that is shorn to them."""
    shapes = leg_shapes(breed, hip, shoulder, rng, near=near)
    figure.add(colour, *shapes)
    if breed.marking == "pompoms":
        _add_ankle_pompoms(figure, breed, shapes, colour)


def _add_ankle_pompoms(figure: Figure, breed: Breed, legs: Sequence[Points], colour: Colour) -> None:
    for foot in legs[2::3]:
        x, y = foot.mean(axis=0)
        figure.add(colour, disc((x - 0.02, y - breed.leg_width * 2.4), 0.10, scallops=8))


def add_tail(figure: Figure, tail: str, root: tuple[float, float], coat: Colour, rng: np.random.Generator) -> None:
    """Adds a tail of a kind: whip, brush, ring, knot, pompom or plume."""
    x, y = root
    wag = rng.uniform(-0.5, 0.5)
    if tail == "whip":
        along = np.linspace(0, 1, 7)
        xs, ys = x - 0.42 * along, y + (wag - 0.25) * 0.5 * along - 0.22 * along**2
        knots = list(zip(xs, ys, strict=True))
        radii = np.linspace(0.05, 0.018, 7)
        figure.add(coat, *(limb(knots[i], radii[i], knots[i + 1], radii[i + 1]) for i in range(6)))
    elif tail == "brush":
        tip = (x - 0.26 - 0.08 * wag, y + 0.42 - 0.12 * wag)
        middle = (x - 0.18, y + 0.20)
        figure.add(coat, limb((x + 0.04, y), 0.06, middle, 0.105), limb(middle, 0.105, tip, 0.03))
    elif tail == "ring":
        angles = np.linspace(-0.3, 4.6 + 0.5 * wag, 13)
        centre = (x + 0.10, y - 0.26)
        ring = [(centre[0] - 0.20 * math.sin(a + 0.6), centre[1] + 0.20 * math.cos(a + 0.6)) for a in angles]
        figure.add(coat, limb((x + 0.06, y + 0.04), 0.09, ring[0], 0.09), *(
            limb(ring[i], 0.095 - 0.003 * i, ring[i + 1], 0.092 - 0.003 * i) for i in range(12)
        ))  # fmt: skip
    elif tail == "knot":
        figure.add(coat, disc((x - 0.02, y - 0.07), 0.105))
        figure.add(shade(coat, 0.80), disc((x - 0.01, y - 0.065), 0.045), outline=False)
    elif tail == "pompom":
        tip = (x - 0.10 + 0.08 * wag, y - 0.30)
        figure.add(coat, limb((x + 0.04, y), 0.035, tip, 0.028))
        figure.add(coat, disc((tip[0], tip[1] - 0.07), 0.125, scallops=9))
    elif tail == "plume":
        knots = [
            (x + 0.08, y),
            (x - 0.12, y - 0.10),
            (x - 0.30, y - 0.02 + 0.1 * wag),
            (x - 0.34, y + 0.26),
            (x - 0.20, y + 0.12),
        ]
        figure.add(coat, curve(*knots))


def add_marking(
    figure: Figure,
    breed: Breed,
    coat: Colour,
    trunk: Points,
    hip: tuple[float, float],
    shoulder: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Adds what a breed wears on its trunk: freckles, a saddle, a mop, a ruff or pompoms."""
    if breed.marking == "freckles":
        ink = vary((BLACK, BROWN, SLATE)[rng.integers(3)], rng)
        for t in np.linspace(-0.08, 1.05, rng.integers(10, 14)):
            for side in (-0.62, -0.1, 0.45):
                radius = breed.waist + (breed.chest - breed.waist) * t
                x = hip[0] + (shoulder[0] - hip[0]) * t + rng.normal(0, 0.03)
                y = hip[1] + (shoulder[1] - hip[1]) * t + (side + rng.normal(0, 0.1)) * radius
                figure.add(ink, disc((x, y), rng.uniform(0.020, 0.042), squash=rng.uniform(0.7, 1.0)), outline=False)
    elif breed.marking == "saddle":
        ink = vary((BLACK, (74, 60, 52))[rng.integers(2)], rng)
        inner = trunk * (0.985, 0.985)
        hem = (
            hip[1]
            + 0.02
            + 0.02 * np.sin(inner[:, 0] * 20)
            + (shoulder[1] - hip[1]) * (inner[:, 0] / breed.length + 0.5)
        )
        figure.add(ink, np.stack([inner[:, 0], np.minimum(inner[:, 1], hem)], axis=1), outline=False)
    elif breed.marking == "mop":
        _add_hair(figure, coat, hip[0] - 0.30, shoulder[0] + 0.24, hip[1] - 0.12, breed.leg - 0.03, rng)
    elif breed.marking == "ruff":
        red, green, blue = coat
        ruff = shade((red + 14, green + 14, blue + 14), 1.12)
        centre = (shoulder[0] + 0.10, shoulder[1] - 0.04)
        angles = np.linspace(0, 2 * math.pi, 36, endpoint=False)
        spikes = np.where(np.arange(36) % 2 == 0, 0.36, 0.29)
        figure.add(ruff, np.stack([np.cos(angles) * spikes * 0.8, np.sin(angles) * spikes], axis=1) + centre)
    elif breed.marking == "pompoms":
        figure.add(coat, disc((shoulder[0] - 0.02, shoulder[1] - 0.02), breed.chest * 1.22, scallops=12))
        figure.add(coat, disc((hip[0] - 0.02, hip[1] - 0.02), breed.waist * 1.05, scallops=9))
        legs = figure.parts[-3][0][2:]
        _add_ankle_pompoms(figure, breed, legs, coat)


def _add_hair(
    figure: Figure, coat: Colour, left: float, right: float, top: float, bottom: float, rng: np.random.Generator
) -> None:
    strands = 15
    xs = np.linspace(left, right, 2 * strands + 1)
    tips = np.where(np.arange(2 * strands + 1) % 2 == 0, bottom - 0.07, bottom) + rng.normal(0, 0.012, 2 * strands + 1)
    roots = np.array([[right - 0.03, top], [right - 0.25, top - 0.12], [left + 0.25, top - 0.12], [left + 0.04, top]])
    figure.add(coat, np.concatenate([np.stack([xs, tips], axis=1), roots]))
    for x in xs[2:-2:2]:
        sway = rng.normal(0, 0.012)
        line = np.array([[x * 0.93, top + 0.02], [x * 0.97 + sway, (top + bottom) / 2], [x, bottom - 0.09]])
        figure.stroke(shade(coat, 0.72), line, 0.016)


def add_collar(
    figure: Figure,
    shoulder: tuple[float, float],
    head: tuple[float, float],
    chest: float,
    head_radius: float,
    rng: np.random.Generator,
) -> None:
    """Adds a collar with its tag across the neck."""
    t = 0.62
    x, y = shoulder[0] + (head[0] - shoulder[0]) * t, shoulder[1] + (head[1] - shoulder[1]) * t
    across = math.atan2(head[1] - shoulder[1], head[0] - shoulder[0]) + math.pi / 2
    reach = (chest * 0.72 * (1 - t) + head_radius * 0.62 * t) * 0.92
    step = (math.cos(across) * reach, math.sin(across) * reach)
    colour = ((214, 62, 62), (52, 112, 196), (46, 150, 92), (238, 190, 60), (150, 84, 176))[rng.integers(5)]
    figure.add(colour, limb((x - step[0], y - step[1]), 0.024, (x + step[0], y + step[1]), 0.024), outline=False)
    figure.add((250, 214, 90), disc((x + step[0] * 0.9, y + step[1] * 0.9 + 0.05), 0.035), outline=False)


def add_head(
    figure: Figure, breed: Breed, centre: tuple[float, float], coat: Colour, nod: float, rng: np.random.Generator
) -> None:
    """Adds a head, nodding by so many radians about its centre: ears, muzzle, eye, nose and the marks of the breed."""
    x, y = centre
    r = breed.head
    shape = Figure()
    dark = (52, 46, 48)
    tip = (x + r * 0.55 + breed.muzzle, y + r * 0.36)
    muzzle = limb((x + r * 0.35, y + r * 0.26), r * 0.58, tip, r * (0.52 if breed.marking == "mask" else 0.33))
    _add_ears(shape, breed, x, y, coat, rng, far=True)
    if rng.random() < 0.45 and breed.marking != "mop":
        shape.add(
            (232, 110, 124), limb((tip[0] - 0.06, tip[1] + r * 0.2), 0.035, (tip[0] - 0.05, tip[1] + r * 0.62), 0.04)
        )
    shape.add(coat, disc(centre, r), muzzle)
    if breed.marking == "mask":
        shape.add(vary(BLACK, rng), limb((x + r * 0.50, y + r * 0.32), r * 0.50, tip, r * 0.48), outline=False)
    elif breed.marking == "freckles":
        shape.add(
            shade(coat, 0.55),
            disc((x - r * 0.2, y - r * 0.55), 0.03),
            disc((x + r * 0.3, y + r * 0.5), 0.025),
            outline=False,
        )
    if breed.marking == "pompoms":
        shape.add(coat, disc((x - r * 0.25, y - r * 0.80), r * 0.92, scallops=10))
    _add_ears(shape, breed, x, y, coat, rng, far=False)
    if breed.marking == "mop":
        knots = [
            (x - r * 0.9, y - r * 0.5), (x, y - r * 1.15), (x + r * 0.95, y - r * 0.35), (x + r * 0.85, y + r * 0.40),
            (x + r * 0.45, y + r * 0.05), (x + r * 0.1, y + r * 0.75), (x - r * 0.35, y + r * 0.3),
            (x - r * 0.75, y + r * 1.1),
        ]  # fmt: skip
        shape.add(shade(coat, 0.93), curve(*knots))
        beard = [
            (tip[0] - 0.16, tip[1]),
            (tip[0] + 0.02, tip[1] + 0.02),
            (tip[0] - 0.02, tip[1] + 0.24),
            (tip[0] - 0.10, tip[1] + 0.15),
        ]
        shape.add(shade(coat, 0.93), curve(*beard))
    else:
        eye = (x + r * (0.42 if breed.marking == "mask" else 0.30), y - r * 0.16)
        size = r * (0.24 if breed.marking == "mask" else 0.17)
        if sum(coat) < 330 and breed.marking != "mask":
            shape.add((214, 190, 150), disc(eye, size * 1.45), outline=False)
        shape.add((34, 28, 30), disc(eye, size), outline=False)
        shape.add((255, 255, 255), disc((eye[0] + size * 0.3, eye[1] - size * 0.35), size * 0.36), outline=False)
    nose = (tip[0] + r * (0.42 if breed.marking == "mask" else 0.22), tip[1] - r * 0.16)
    shape.add(dark, disc(nose, 0.050, squash=0.8), outline=False)
    for shapes, colour, outlined in shape.parts:
        figure.add(colour, *(turned(part, nod, centre) for part in shapes), outline=outlined)


def _add_ears(
    figure: Figure, breed: Breed, x: float, y: float, coat: Colour, rng: np.random.Generator, *, far: bool
) -> None:
    r = breed.head
    shift = r * 0.42 if far else 0.0
    colour = shade(coat, 0.72 if far else 0.86)
    flop = rng.uniform(-0.2, 0.2)
    x += shift
    if breed.ears in ("prick", "tall"):
        height = r * (1.75 if breed.ears == "tall" else 1.05)
        ear = np.array(
            [
                [x - r * 0.75, y - r * 0.35],
                [x - r * 0.45 + flop * 0.06, y - r * 0.55 - height],
                [x + r * 0.15, y - r * 0.75],
            ]
        )
        figure.add(colour, ear)
        figure.add((222, 160, 150), ear * 0.5 + ear.mean(axis=0) * 0.5, outline=False)
    elif breed.ears == "long" and not far:
        ear = curve(
            (x - r * 0.5, y - r * 0.7),
            (x + r * 0.05, y - r * 0.5),
            (x + r * 0.1, y + r * 0.9),
            (x - r * 0.35, y + r * 1.45),
            (x - r * 0.8, y + r * 0.7),
        )
        figure.add(shade(coat, 0.72), turned(ear, flop, (x, y)))
    elif breed.ears == "folded" and not far:
        ear = curve(
            (x - r * 0.7, y - r * 0.75),
            (x - r * 0.05, y - r * 0.75),
            (x - r * 0.30, y + r * 0.40),
            (x - r * 0.70, y + r * 0.30),
        )
        figure.add(vary(BLACK if sum(coat) > 700 else BROWN, rng), turned(ear, flop, (x, y)))
    elif breed.ears == "button":
        ear = curve(
            (x - r * 0.75, y - r * 0.70),
            (x - r * 0.05, y - r * 0.95),
            (x - r * 0.25, y - r * 0.20),
            (x - r * 0.70, y - r * 0.05),
        )
        figure.add((64, 54, 54), ear)
    elif breed.ears == "woolly" and not far:
        figure.add(colour, disc((x - r * 0.55, y + r * 0.35), r * 0.62, squash=1.35, scallops=9))
