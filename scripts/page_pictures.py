"""Takes the README's pictures of the page, from a gateway that serves the sample model.

`scripts/run` in one terminal, then `python -m scripts.page_pictures http://127.0.0.1:8000` in another. Needs Chromium.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from tests.browser.chromium import Page, eventually, prefers, running_browser, screen

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main() -> int:
    """Writes docs/images/page.webp: drawings that were answered, one of them explained."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with running_browser() as browser:
        screen(browser, 1280, 860, pixel_ratio=1.5)
        prefers(browser, "light")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        page = Page(browser, sys.argv[1]).open()
        page.click("#try-all")
        page.settled(7)
        for number in (2, 4):
            page.click(f".tile:nth-child({number}) .why")
        eventually(lambda: page.shown(".tile:nth-child(2) .heat") and page.shown(".tile:nth-child(4) .heat"))
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.save(IMAGES / "page.webp", quality=80, method=6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
