"""Takes the picture of the page for the documentation, from a gateway that serves a model of breeds.

`scripts/run` in one terminal, then `python -m scripts.page_pictures http://127.0.0.1:8000 PHOTO ...` in another, with
eight photos. A drawing replaces each photo after it was answered, so the picture contains no photo. Needs Chromium.
"""

import io
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image

from testing.chromium import running_chromium
from testing.page import Page, eventually

IMAGES = Path(__file__).parent.parent / "docs" / "images"

NAMES = ("rex", "bella", "luna", "max", "coco", "bruno", "lilly", "sam")
"""Names of the photos in the picture."""

EXPLAINED = (2, 4)
"""The tiles with a heat map, counted from 1."""

DRAW = """
const done = arguments[0];
(async () => {
  const icon = await (await fetch("/web/icon.svg")).text();
  const drawing = icon.replace("<svg ", '<svg width="512" height="512" ').replace(/<rect[^>]*>/, "");
  const dog = new Image();
  dog.src = URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" }));
  await dog.decode();
  let hue = 200;
  for (const tile of document.querySelectorAll(".tile")) {
    const front = tile.querySelector(".front");
    const canvas = Object.assign(document.createElement("canvas"), { width: 800 });
    canvas.height = front.naturalWidth ? (800 * front.naturalHeight) / front.naturalWidth : 600;
    const context = canvas.getContext("2d");
    context.fillStyle = `hsl(${hue} 42% 76%)`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = `hsl(${hue + 70} 32% 62%)`;
    context.fillRect(0, canvas.height * 0.72, canvas.width, canvas.height);
    const side = 0.8 * Math.min(canvas.width, canvas.height);
    context.filter = `hue-rotate(-12deg) saturate(${0.25 + (hue % 4) / 8}) brightness(${0.6 + (hue % 5) / 9})`;
    context.drawImage(dog, (canvas.width - side) / 2, (canvas.height - side) / 2, side, side);
    const drawn = URL.createObjectURL(await new Promise((resolve) => canvas.toBlob(resolve)));
    for (const image of [front, tile.querySelector(".back")]) image.src = drawn;
    await front.decode();
    hue += 47;
  }
})().then(done, done);
"""


def main() -> int:
    """Writes docs/images/page.webp: photos with their answers, two of them with a heat map."""
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    pairs = list(zip(sys.argv[2:], NAMES, strict=False))
    with running_chromium() as browser, tempfile.TemporaryDirectory() as folder:
        browser.screen(1280, 860, pixel_ratio=1.5)
        browser.prefers("light")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        page = Page(browser, sys.argv[1]).open()
        photos = [Path(shutil.copy(photo, Path(folder, f"{name}.jpg"))) for photo, name in pairs]
        page.choose(photos)
        page.settled(len(photos))
        for number in EXPLAINED:
            page.click(f".tile:nth-child({number}) .why")
            eventually(partial(page.shown, f".tile:nth-child({number}) .heat"))
        if error := browser.execute_async_script(DRAW):
            print(f"the photos could not be replaced: {error}", file=sys.stderr)
            return 1
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.save(IMAGES / "page.webp", quality=80, method=6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
