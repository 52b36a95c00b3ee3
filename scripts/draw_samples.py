"""Draws the pictures that the page offers to try with the sample model: `python -m scripts.draw_samples`."""

import json
from pathlib import Path

import numpy as np

from trainer.breeds import BREEDS
from trainer.drawings import draw_dog
from trainer.sample import EXAMPLES

SAMPLES = Path(__file__).parent.parent / "gateway" / "web" / "samples"
SIDE = 320
"""Pixels: more than three times what the sample model sees, and a few kilobytes."""

SEED = 7
"""Of drawings that no sample model was trained on, and whose poses are easy to tell apart."""


def main() -> None:
    """Writes one drawing of each breed, and a list of them that the page reads."""
    SAMPLES.mkdir(exist_ok=True)
    listed = []
    for index, breed in enumerate(BREEDS):
        file = f"{breed.label.lower().replace(' ', '-')}.webp"
        draw_dog(breed, SIDE, np.random.default_rng([SEED, EXAMPLES, index])).save(SAMPLES / file, quality=82, method=6)
        listed.append({"file": file, "label": breed.label})
    (SAMPLES / "samples.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
