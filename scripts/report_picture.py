"""Makes the README's picture of a report: `python -m scripts.report_picture [WEIGHTS]`. Needs Chromium.

Draws a small data set of little dogs, trains MobileNetV2 on it with `python -m trainer train` as anyone would (ImageNet
weights are fetched, or read from the file that is given), and photographs the report that comes out.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.browser.chromium import prefers, running_browser, screen
from trainer.breeds import BREEDS
from trainer.cli import main as trainer
from trainer.drawings import draw_dog
from trainer.scenery import draw_other

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "report.png"
DRAWINGS = {"train": 4, "valid": 20}
OTHERS = 60
SIDE = 192
COLOURS = 64
"""Of the picture's palette, which makes it a third of its size."""

TRAINING = ("--backbone", "mobilenet_v2", "--views", "4", "--epochs", "30", "--learning-rate", "0.0005")


def main() -> int:
    """Writes docs/images/report.png."""
    if len(sys.argv) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    with TemporaryDirectory() as folder:
        return photograph(Path(folder), *sys.argv[1:])


def photograph(folder: Path, weights: str = "imagenet") -> int:
    """Trains in a folder and writes the picture; returns the trainer's exit status."""
    for at, (split, count) in enumerate(DRAWINGS.items()):
        for index, breed in enumerate(BREEDS):
            place = folder / "drawings" / split / breed.label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw_dog(breed, SIDE, np.random.default_rng([at, index, number])).save(place / f"{number:02}.jpg")
    (folder / "other things").mkdir(exist_ok=True)
    for number in range(OTHERS):
        draw_other(SIDE, np.random.default_rng(number)).save(folder / "other things" / f"{number:02}.jpg")
    places = [f"--{name}-dir={folder / name}" for name in ("models", "runs", "cache")]
    unknown = f"--unknown={folder / 'other things'}"
    command = ["train", f"{folder / 'drawings'}", "--name", "drawn_dogs", f"--weights={weights}", unknown]
    status = trainer([*command, *TRAINING, *places])
    if status:
        return status
    (report,) = folder.glob("runs/drawn_dogs/*/report.html")
    with running_browser() as browser:
        screen(browser, 1160, 1740, pixel_ratio=1)
        prefers(browser, "light")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        browser.get(report.resolve().as_uri())
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
