"""GIF. Only the first frame of an animation is decoded."""

import io
import re
import struct
from typing import Final

from PIL import GifImagePlugin

from gateway.images.errors import InvalidImage
from gateway.images.limits import check_pixels
from gateway.images.picture import PillowPicture

_BLOCK: Final = re.compile(rb"[!,]")  # an extension or a frame; decoders skip anything else
_MAX_BLOCKS: Final = 1 << 14


def open_gif(data: bytes, max_pixels: int, bytes_per_pixel: float) -> PillowPicture:
    """Read a GIF's header; see `Format.open`.

    Raises:
        ImageTooLarge: The canvas, enlarged to contain the first frame, has too many pixels.
        InvalidImage: There are too many blocks before the first frame.
    """
    canvas = struct.unpack_from("<HH", data, 6)
    left, top, width, height = _first_frame(data)
    # Pillow enlarges the canvas to contain the frame, and may allocate it when it opens the file.
    size = max(canvas[0], left + width), max(canvas[1], top + height)
    check_pixels(size, max_pixels, bytes_per_pixel)
    return PillowPicture(GifImagePlugin.GifImageFile(io.BytesIO(data)))


def _first_frame(data: bytes) -> tuple[int, int, int, int]:
    """Left, top, width and height of the first frame (GIF89a, section 20)."""
    flags = data[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while True:
        match = _BLOCK.search(data, position)
        if match is None:
            raise EOFError("no frame")
        position = match.start()
        if match[0] == b",":
            left, top, width, height = struct.unpack_from("<4H", data, position + 1)
            return left, top, width, height
        size, position = 1, position + 2
        while size:  # including the empty block at the end of an extension
            size = data[position]
            position += 1 + size
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise InvalidImage("The GIF image has too many blocks before its first frame.")
