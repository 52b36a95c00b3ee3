"""BMP."""

import io

from PIL import BmpImagePlugin

from gateway.images.errors import UnsupportedImage
from gateway.images.limits import check_pixels
from gateway.images.picture import PillowPicture


def open_bmp(data: bytes, max_pixels: int, bytes_per_pixel: float) -> PillowPicture:
    """Read a BMP's header; see `Format.open`.

    Raises:
        ImageTooLarge: Too many pixels.
        UnsupportedImage: It is run-length encoded, which Pillow decodes in Python.
    """
    file = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    check_pixels(file.size, max_pixels, bytes_per_pixel)
    if any(tile.codec_name != "raw" for tile in file.tile):
        raise UnsupportedImage("Run-length encoded BMP images are not accepted. Send a PNG instead.")
    return PillowPicture(file)
