"""Convert and reduce large images in bands, so that there is only one copy in memory."""

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

BACKGROUND: Final = (255, 255, 255)
"""Background of transparent pixels."""

_BAND_PIXELS: Final = 1 << 18


def has_transparency(image: Image.Image) -> bool:
    """Whether some pixels are, or may be, transparent."""
    keyed = isinstance(image.info.get("transparency"), int | bytes | tuple)
    return image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or keyed


def opaque(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, with transparency composited over `BACKGROUND`.

    16-bit grey keeps its high byte, as Pillow does for 16-bit RGB; Pillow's own conversion of grey clips instead.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        transparent = image.info.get("transparency")
        if not isinstance(transparent, int):
            return grey
        grey.putalpha(Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
        image = grey
    if has_transparency(image):
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), colours).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def shrunk(size: tuple[int, int], rows: Callable[[int, int], Image.Image], factor: int) -> Image.Image:
    """Reduce an image by an integer factor. Each pixel is the mean of ``factor`` times ``factor`` pixels.

    `size` is that of the full image, of which `rows` returns a range of rows in mode L or RGB.

    Returns:
        Mode L or RGB; each side is that of the full image divided by ``factor``, rounded up.
    """
    width, height = size
    step = factor * max(1, _BAND_PIXELS // (width * factor))
    canvas: Image.Image | None = None
    for top in range(0, height, step):
        band = rows(top, min(height, top + step))
        if factor > 1:
            band = band.reduce(factor)
        if canvas is None:
            canvas = Image.new(band.mode, (-(-width // factor), -(-height // factor)))
        canvas.paste(band, (0, top // factor))
    assert canvas is not None
    return canvas
