"""Decode images. Training and serving share these rules, so that a model sees the same pixels in both.

* **Formats.** Those of `gateway.images.formats`, recognised by their first bytes.
* **First frame** of an animation.
* **Orientation** of EXIF is applied; corrupt EXIF is ignored.
* **Transparency** is composited over white. The bars of ``fit="pad"`` are black.
* **Colour profiles** are not applied. Nearly all photos are sRGB, and others (Display P3, Adobe RGB) differ less
  than augmented ones.
* **Scaled decoding.** A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is at least twice the target size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.images.bands import has_transparency, opaque, shrunk
from gateway.images.errors import decoder_errors
from gateway.images.formats import open_image
from gateway.images.limits import DEFAULT_MAX_PIXELS
from gateway.images.picture import Picture
from gateway.images.target import Interpolation, Target, placement

_FILTERS: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Reduce by integers first, to three times the target size. This also limits memory: otherwise the first of the two
# passes of a resize would create 224 columns for every row of a photo that is one pixel wide and 50 million high.
_REDUCING_GAP: Final = 3.0
_BAR: Final = (0, 0, 0)

# The transposition for each EXIF orientation.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


def decode_image(
    data: bytes | bytearray | memoryview, target: Target, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode an image, apply its orientation, and fit it to the input of a model.

    The header is checked first, which takes less than a millisecond; see `DEFAULT_MAX_PIXELS` for ``max_pixels``.

    Returns:
        uint8 (target.height, target.width, 3), RGB, C-contiguous and read-only.

    Raises:
        UnsupportedImage: The format is not one of `ACCEPTED_FORMATS`.
        InvalidImage: The image is empty, truncated, corrupt or takes far more memory than its size justifies.
        ImageTooLarge: The image has more pixels than ``max_pixels`` allows. Only this error can go away with a higher
            ``max_pixels``.
    """
    name, picture = open_image(bytes(data), max_pixels)  # bytes of bytes is no copy
    return np.asarray(fit_picture(name, picture, target))


def decode_whole(
    data: bytes | bytearray | memoryview, max_side: int, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode all of an image, scaled down so that neither side is longer than `max_side` pixels.

    Returns:
        uint8 (height, width, 3), RGB, upright. Raises as `decode_image` does.
    """
    name, picture = open_image(bytes(data), max_pixels)
    width, height = seen_size(picture)
    scale = min(1.0, max_side / max(width, height))
    target = Target(max(1, round(height * scale)), max(1, round(width * scale)), "squash")
    return np.asarray(fit_picture(name, picture, target))


def upright_size(data: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Width and height with the orientation applied, from the header. Raises as `decode_image` does."""
    _, picture = open_image(bytes(data), DEFAULT_MAX_PIXELS)
    return seen_size(picture)


def seen_size(picture: Picture) -> tuple[int, int]:
    """Width and height with the orientation applied."""
    width, height = picture.size
    return (height, width) if picture.orientation in _SIDEWAYS else (width, height)


def fit_picture(name: str, picture: Picture, target: Target) -> Image.Image:
    """Decode an image that `open_image` has returned, and fit it, as `decode_image` does.

    Returns:
        Mode RGB, of the target's size.
    """
    upright = (target.width, target.height)
    target_size = upright[::-1] if picture.orientation in _SIDEWAYS else upright
    size, box = placement(picture.size, target_size, target.fit)
    shrink = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    if target.interpolation == "nearest":
        shrink = 1.0  # nearest uses single pixels instead of means

    with decoder_errors(name):
        image, divisor = picture.load(shrink)
        if image.mode not in ("L", "RGB") or has_transparency(image):
            factor = max(1, int(shrink / divisor / 2))
            image, divisor = _opaque(image, factor), divisor * factor
        left, top, right, bottom = box
        part = (left / divisor, top / divisor, right / divisor, bottom / divisor)
        resized = image.resize(size, _FILTERS[target.interpolation], part, _REDUCING_GAP)
    return _finished(resized, picture.orientation, upright)


def _opaque(image: Image.Image, factor: int) -> Image.Image:
    return shrunk(image.size, lambda upper, lower: opaque(image.crop((0, upper, image.width, lower))), factor)


def _finished(image: Image.Image, orientation: int, size: tuple[int, int]) -> Image.Image:
    """Convert to RGB, apply the orientation and add bars. Done last, because the image is small then."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.size != size:
        framed = Image.new("RGB", size, _BAR)
        framed.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        return framed
    return image
