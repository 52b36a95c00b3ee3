"""Places and light for the drawings, and pictures with no dog in them."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

_SKIES: tuple[Colour, ...] = ((170, 212, 238), (206, 228, 240), (250, 214, 170), (196, 190, 226), (150, 180, 210))
_GROUNDS: tuple[Colour, ...] = ((150, 190, 106), (118, 166, 92), (222, 204, 156), (232, 236, 242), (186, 172, 120))
_WALLS: tuple[Colour, ...] = ((238, 226, 206), (206, 220, 212), (226, 206, 214), (196, 206, 224), (244, 236, 190))
_FLOORS: tuple[Colour, ...] = ((176, 132, 92), (150, 110, 84), (196, 176, 156), (138, 146, 156), (190, 120, 110))


def shade(colour: Colour, factor: float) -> Colour:
    """A colour made darker (factor under 1) or lighter."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def paint_scene(draw: ImageDraw.ImageDraw, size: int, *, horizon: float, rng: np.random.Generator) -> Colour:
    """Fills a square canvas with a place outdoors or indoors, and returns the colour of its ground."""
    outdoors = rng.random() < 0.6
    back = _tint((_SKIES if outdoors else _WALLS)[rng.integers(5)], rng)
    ground = _tint((_GROUNDS if outdoors else _FLOORS)[rng.integers(5)], rng)
    for row in range(0, int(horizon) + 1, 4):
        draw.rectangle((0, row, size, row + 4), fill=shade(back, 0.92 + 0.12 * row / horizon))
    (_paint_outdoors if outdoors else _paint_indoors)(draw, size, horizon, back, ground, rng)
    for row in range(int(horizon), size, 4):
        draw.rectangle((0, row, size, row + 4), fill=shade(ground, 0.96 + 0.10 * (row - horizon) / (size - horizon)))
    if outdoors:
        for _ in range(rng.integers(6, 22)):
            x, y = rng.uniform(0, size), rng.uniform(horizon + 0.02 * size, size)
            tall = size * rng.uniform(0.01, 0.03)
            draw.line((x, y, x + rng.normal(0, tall / 2), y - tall), fill=shade(ground, 0.8), width=max(1, size // 150))
    elif rng.random() < 0.5:
        box = (size * rng.uniform(-0.1, 0.2), size * 0.84, size * rng.uniform(0.8, 1.1), size * 0.97)
        draw.ellipse(box, fill=_tint(_WALLS[rng.integers(5)], rng))
        return ground
    return ground


def _tint(colour: Colour, rng: np.random.Generator) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, 9, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _paint_outdoors(
    draw: ImageDraw.ImageDraw, size: int, horizon: float, back: Colour, ground: Colour, rng: np.random.Generator
) -> None:
    if rng.random() < 0.5:
        x, y, r = size * rng.uniform(0.1, 0.9), size * rng.uniform(0.06, 0.2), size * rng.uniform(0.05, 0.08)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 236, 160))
    for _ in range(rng.integers(0, 4)):
        x, y = size * rng.uniform(0, 1), size * rng.uniform(0.05, 0.3)
        for dx in (-0.05, 0.0, 0.05):
            r = size * (0.045 if dx == 0 else 0.032)
            draw.ellipse((x + dx * size - r, y - r, x + dx * size + r, y + r * 0.7), fill=shade(back, 1.14))
    for _ in range(rng.integers(0, 3)):
        x, r = size * rng.uniform(0, 1), size * rng.uniform(0.2, 0.5)
        draw.ellipse((x - r, horizon - r * 0.45, x + r, horizon + r), fill=shade(ground, rng.uniform(0.82, 0.95)))
    for _ in range(rng.integers(0, 4)):
        x, tall = size * rng.uniform(0, 1), size * rng.uniform(0.12, 0.3)
        draw.rectangle((x - tall * 0.06, horizon - tall * 0.5, x + tall * 0.06, horizon), fill=(126, 94, 70))
        crown = _tint((92, 150, 92), rng)
        if rng.random() < 0.5:
            draw.ellipse((x - tall * 0.36, horizon - tall, x + tall * 0.36, horizon - tall * 0.3), fill=crown)
        else:
            peak = [
                (x, horizon - tall * 1.1),
                (x - tall * 0.32, horizon - tall * 0.2),
                (x + tall * 0.32, horizon - tall * 0.2),
            ]
            draw.polygon(peak, fill=crown)


def _paint_indoors(
    draw: ImageDraw.ImageDraw, size: int, horizon: float, back: Colour, ground: Colour, rng: np.random.Generator
) -> None:
    if rng.random() < 0.4:
        pitch = size * rng.uniform(0.06, 0.14)
        for i in range(int(size / pitch) + 1):
            draw.rectangle((i * pitch, 0, i * pitch + pitch / 2, horizon), fill=shade(back, 0.94))
    if rng.random() < 0.6:
        x, y, w, h = (size * value for value in rng.uniform((0.05, 0.05, 0.18, 0.18), (0.65, 0.15, 0.32, 0.3)))
        draw.rectangle((x, y, x + w, y + h), fill=shade(ground, 0.9))
        margin = size * 0.018
        draw.rectangle(
            (x + margin, y + margin, x + w - margin, y + h - margin), fill=_tint(_SKIES[rng.integers(5)], rng)
        )
    draw.rectangle((0, horizon - size * 0.025, size, horizon), fill=shade(back, 1.12))


def light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Puts an RGB image into another light: its colour, its direction, brightness, and a little grain."""
    pixels = np.asarray(image, dtype=np.float32)
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    slope = 1 + rng.uniform(0, 0.28) * (x * math.cos(angle) + y * math.sin(angle))
    warmth = rng.normal(0, 0.04)
    colour = rng.uniform(0.72, 1.10) * np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32)
    grain = rng.normal(0, rng.uniform(0, 4), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels * slope[..., None] * colour + grain, 0, 255).astype(np.uint8))


def draw_other(size: int, rng: np.random.Generator) -> Image.Image:
    """Draws what is not one of the dogs: an empty scene, leaves, clouds of colour, or a mottled something.

    Overlapping discs of power-law sizes ("dead leaves") and noise whose power falls with frequency have the simple
    statistics of photos (Lee, Mumford and Huang 2001, https://doi.org/10.1023/A:1011109015675).

    Returns:
        An RGB image of size x size pixels.
    """
    kind = rng.integers(5)
    if kind == 0:
        canvas = Image.new("RGB", (2 * size, 2 * size))
        paint_scene(ImageDraw.Draw(canvas), 2 * size, horizon=2 * size * rng.uniform(0.3, 0.85), rng=rng)
        return light(canvas.resize((size, size), Image.Resampling.BOX), rng)
    image = (_leaves, _clouds, _mixture, _something)[kind - 1](size, rng)
    # Photos are duller than drawings, and seldom sharp everywhere.
    image = Image.blend(image, image.convert("L").convert("RGB"), rng.uniform(0, 0.9))
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 3.0)))
    return light(image, rng)


def _mixture(size: int, rng: np.random.Generator) -> Image.Image:
    return Image.blend(_leaves(size, rng), _clouds(size, rng), rng.uniform(0.2, 0.6))


def _something(size: int, rng: np.random.Generator) -> Image.Image:
    """A mottled body of a few overlapping ovals before a blurred background: what a photo of an animal is, roughly."""
    mask = Image.new("L", (2 * size, 2 * size))
    draw = ImageDraw.Draw(mask)
    x, y = rng.uniform(0.6, 1.4, 2) * size
    for _ in range(rng.integers(1, 7)):
        a, b = rng.uniform(0.08, 0.6, 2) * size
        draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
        x, y = np.clip(rng.normal((x, y), 0.3 * size), 0.2 * size, 1.8 * size)
    mask = mask.resize((size, size), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
    behind = _mixture(size, rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, 6)))
    return Image.composite(_clouds(size, rng), behind, mask)


def _leaves(size: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGB", (2 * size, 2 * size), _random_colour(rng))
    draw = ImageDraw.Draw(canvas)
    base = np.array(_random_colour(rng))
    spread = rng.uniform(10, 80)
    count = rng.integers(8, 160)
    radii = np.clip(0.02 / rng.uniform(0.02, 1.0, count) ** 0.8, 0.02, 0.5) * 2 * size
    for radius in np.sort(radii)[::-1]:
        x, y = rng.uniform(0, 2 * size, 2)
        red, green, blue = np.clip(base + rng.normal(0, spread, 3), 0, 255).astype(int)
        colour = (int(red), int(green), int(blue))
        squash = rng.uniform(0.3, 1.0)
        if rng.random() < 0.7:
            draw.ellipse((x - radius, y - radius * squash, x + radius, y + radius * squash), fill=colour)
        else:
            corners = rng.normal((x, y), radius, (rng.integers(3, 7), 2))
            draw.polygon([(a, b) for a, b in corners], fill=colour)
    return canvas.resize((size, size), Image.Resampling.BOX)


def _random_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.integers(20, 236, 3)
    return int(red), int(green), int(blue)


def _clouds(size: int, rng: np.random.Generator) -> Image.Image:
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    falloff = frequency ** -rng.uniform(0.0, 2.0)
    shared, own = rng.normal(size=(size, size, 1)), rng.normal(size=(size, size, 3))
    spectrum = np.fft.fft2(shared + rng.uniform(0, 1) * own, axes=(0, 1)) * falloff[..., None]
    field = np.fft.ifft2(spectrum, axes=(0, 1)).real
    field = (field - field.mean(axis=(0, 1))) / (field.std(axis=(0, 1)) + 1e-6)
    pixels = np.clip(field * rng.uniform(20, 70) + np.array(_random_colour(rng)), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))
