"""Photos with coloured squares; their colours are the labels."""

from collections.abc import Iterable, Iterator
from itertools import chain, combinations
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (20, 20, 240), "green": (20, 240, 20), "red": (240, 20, 20)}
SETS = tuple(chain.from_iterable(combinations(COLOURS, count) for count in range(len(COLOURS) + 1)))
"""Every set of labels, the empty one first."""


def draw(path: Path, labels: Iterable[str], seed: int) -> Path:
    """Draws a square of each colour at a place of its own on a grey pattern that no other photo has."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(60, 140, (4, 4), np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).convert("RGB").resize((48, 48), Image.Resampling.BICUBIC)).copy()
    places = [(0, 0), (0, 24), (24, 0), (24, 24)]
    for label, place in zip(labels, generator.permutation(len(places)), strict=False):
        top, left = places[place]
        pixels[top + 2 : top + 22, left + 2 : left + 22] = COLOURS[label]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photos(count: int, first: int = 0) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yields name, labels and seed of photos, all sets in turn."""
    for number in range(first, first + count):
        yield f"{number:03}.png", SETS[number % len(SETS)], number


def write_table(folder: Path, count: int, first: int = 0) -> Path:
    """Writes photos and a table of their labels."""
    rows = ["file,label"]
    for name, labels, seed in photos(count, first):
        draw(folder / name, labels, seed)
        rows.append(",".join((name, *labels)))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_links(folder: Path, count: int, first: int = 0) -> Path:
    """Writes photos with labels into class folders: a file in that of the first label, and links in the others."""
    for name, labels, seed in photos(count, first):
        if labels:
            original = draw(folder / labels[0] / name, labels, seed)
        for label in labels[1:]:
            (folder / label).mkdir(parents=True, exist_ok=True)
            (folder / label / name).symlink_to(original)
    return folder
