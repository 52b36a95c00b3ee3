"""Photos of one colour, for a model that knows three colours."""

from pathlib import Path

from PIL import Image

COLOURS = {"Red Setter": (250, 0, 0), "Green Hound": (0, 250, 0), "Blue Spitz": (0, 0, 250)}


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), colour).save(path)
