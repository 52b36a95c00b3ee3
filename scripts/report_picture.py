"""Makes the picture of a report for the documentation: `python -m scripts.report_picture DATA UNKNOWN`. Needs Chromium.

Trains on a folder of photos with `breed train`, with photos of other things as unknown, and takes a
screenshot of the head of the report, which contains no photo.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from testing.chromium import running_chromium
from trainer.cli import main as trainer

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "report.png"
COLOURS = 64
"""Number of colours of the picture. A palette makes the file a third of the size."""


def main() -> int:
    """Writes docs/images/report.png."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with TemporaryDirectory() as folder:
        return photograph(Path(folder), *sys.argv[1:])


def photograph(folder: Path, data: str, unknown: str) -> int:
    """Trains in a folder and writes the picture. Returns the trainer's exit status."""
    places = [f"--{name}-dir={folder / name}" for name in ("models", "runs", "cache")]
    status = trainer(["train", data, "--name", "dog_breed", "--unknown", unknown, *places])
    if status:
        return status
    (report,) = folder.glob("runs/dog_breed/*/report.html")
    with running_chromium() as browser:
        browser.screen(1160, 1740, pixel_ratio=1)
        browser.prefers("light")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        browser.get(report.resolve().as_uri())
        browser.execute_script("for (const photo of document.images) photo.style.visibility = 'hidden'")
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
