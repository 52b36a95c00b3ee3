"""Little dogs of invented breeds, drawn with Pillow: the photos of the sample model.

A dog is built of convex limbs and closed curves in a plane of its own (facing right, y downwards, the body about one
unit long), then placed in a scene, painted at several times the wanted size and reduced, which smooths every edge.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from trainer.anatomy import add_collar, add_head, add_legs, add_marking, add_tail, leg_shapes, vary
from trainer.breeds import Breed
from trainer.scenery import light, paint_scene, shade
from trainer.shapes import Figure, Points, disc, limb, turned

SUPERSAMPLING = 3


def draw_dog(breed: Breed, size: int, rng: np.random.Generator) -> Image.Image:
    """Draws a dog of a breed in a scene: pose, coat, place, background and light are drawn from `rng`.

    Returns:
        An RGB image of size x size pixels. The dog is whole and well inside it.
    """
    canvas = Image.new("RGB", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    figure = build_dog(breed, rng)
    points = np.concatenate([shape for shapes, _, _ in figure.parts for shape in shapes])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = canvas.width * min(
        rng.uniform(0.66, 0.88) / (high[0] - low[0]), rng.uniform(0.62, 0.78) / (high[1] - low[1])
    )
    feet = canvas.width * rng.uniform(0.80, 0.92)
    middle = canvas.width * rng.uniform(0.46, 0.54)
    mirror = -1 if rng.random() < 0.5 else 1
    lean = rng.normal(0, 0.035)

    def place(shape: Points) -> Points:
        about_feet = (shape - ((low[0] + high[0]) / 2, high[1])) * (mirror * scale, scale)
        return np.asarray(turned(about_feet, lean, (0.0, 0.0)) + np.array([middle, feet]))

    ground = paint_scene(draw, canvas.width, horizon=(feet - 0.1 * canvas.width) * rng.uniform(0.72, 1.0), rng=rng)
    shadow = disc(((low[0] + high[0]) / 2, high[1] - 0.02), (high[0] - low[0]) * 0.46, squash=0.11)
    draw.polygon([(x, y) for x, y in place(shadow)], fill=shade(ground, 0.74))
    figure.paint(draw, place, scale)
    return light(canvas.resize((size, size), Image.Resampling.BOX), rng)


def build_dog(breed: Breed, rng: np.random.Generator) -> Figure:
    """Builds one dog of a breed, standing or walking, in the figure's plane."""
    figure = Figure()
    coat = vary(breed.coats[rng.integers(len(breed.coats))], rng)
    stretch, build = rng.uniform(0.93, 1.07), rng.uniform(0.93, 1.08)
    length, chest, waist = breed.length * stretch, breed.chest * build, breed.waist * build
    slope = rng.uniform(-0.02, 0.03) - (0.05 if breed.marking == "saddle" else 0.0)
    hip, shoulder = (-length / 2, -slope), (length / 2, slope)
    add_tail(figure, breed.tail, (hip[0] - waist * 0.7, hip[1] - waist * 0.45), coat, rng)
    add_legs(figure, breed, hip, shoulder, shade(coat, 0.80), rng, near=False)

    nod = rng.uniform(-0.30, 0.25)
    head = (
        shoulder[0] + chest * 0.45 + breed.neck * math.sin(0.75 + nod * 0.6),
        shoulder[1] - chest * 0.55 - breed.neck * math.cos(0.75 + nod * 0.6),
    )
    trunk = limb(hip, waist, shoulder, chest)
    neck = limb((shoulder[0] + chest * 0.1, shoulder[1] - chest * 0.25), chest * 0.72, head, breed.head * 0.62)
    figure.add(coat, trunk, neck, *leg_shapes(breed, hip, shoulder, rng, near=True))
    add_marking(figure, breed, coat, trunk, hip, shoulder, rng)
    if rng.random() < 0.6 and breed.marking not in ("mop", "ruff"):
        add_collar(figure, shoulder, head, chest, breed.head, rng)
    add_head(figure, breed, head, coat, nod, rng)
    return figure
