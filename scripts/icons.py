"""Draws the page's icons as PNG from gateway/web/icon.svg. Run it after a change to the drawing. Needs Chromium."""

import io
from pathlib import Path

from PIL import Image

from testing.chromium import running_chromium

WEB = Path(__file__).parent.parent / "gateway" / "web"
GROUND = "#1f47c9"
SAFE = 72
"""Size of the drawing in a maskable icon, in per cent of the side. Systems cut off up to a tenth on each side."""

ICONS = (
    ("icon-192.png", 192, 100, "transparent"),
    ("icon-512.png", 512, 100, "transparent"),
    ("icon-maskable.png", 512, SAFE, GROUND),
)


def main() -> None:
    """Writes the icons to the folder of the drawing."""
    drawing = (WEB / "icon.svg").read_text("utf-8")
    with running_chromium() as browser:
        browser.execute_cdp_cmd(
            "Emulation.setDefaultBackgroundColorOverride", {"color": {"r": 0, "g": 0, "b": 0, "a": 0}}
        )
        browser.get("about:blank")
        for name, side, share, ground in ICONS:
            browser.screen(side, side)
            style = f"margin: 0; height: 100vh; display: grid; place-items: center; background: {ground}"
            browser.execute_script(
                "document.body.style = arguments[0]; document.body.innerHTML = arguments[1];"
                "document.querySelector('svg').style = arguments[2]",
                style,
                drawing,
                f"width: {share}vw; height: {share}vw",
            )
            picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGBA")
            picture.quantize(64, Image.Quantize.FASTOCTREE).save(WEB / name, optimize=True)


if __name__ == "__main__":
    main()
