"""Takes the README's picture of the page, from a gateway that serves a model of breeds.

`scripts/run` in one terminal, then `python -m scripts.page_pictures http://127.0.0.1:8000 PHOTO ...` in another, with
seven photos. They are blurred in the picture, so that it may be published whoever took them. Needs Chromium.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from testing.chromium import running_chromium
from testing.page import Page, eventually

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main() -> int:
    """Writes docs/images/page.webp: photos that were answered, two of them explained."""
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    with running_chromium() as browser:
        browser.screen(1280, 860, pixel_ratio=1.5)
        browser.prefers("light")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        page = Page(browser, sys.argv[1]).open()
        photos = [Path(one) for one in sys.argv[2:]]
        page.choose(photos)
        page.settled(len(photos))
        browser.execute_script("for (const photo of document.images) photo.style.filter = 'blur(12px)'")
        for number in (2, 4):
            page.click(f".tile:nth-child({number}) .why")
        eventually(lambda: page.shown(".tile:nth-child(2) .heat") and page.shown(".tile:nth-child(4) .heat"))
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.save(IMAGES / "page.webp", quality=80, method=6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
