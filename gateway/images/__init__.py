"""Decode images to uint8 RGB pixels. Training and serving share this preprocessing.

This package imports only Pillow, NumPy, pillow-heif and the standard library, and nothing else of the gateway, so that
the trainer and the worker processes can import it alone.

Decoding runs in the calling thread. Its time is not limited, and neither is its memory if the header of a file is
wrong. Decode untrusted files in a process with limits.
"""

from gateway.images.decode import decode_image, upright_size
from gateway.images.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from gateway.images.formats import ACCEPTED_FORMATS, ACCEPTED_MEDIA_TYPES, open_image
from gateway.images.limits import DEFAULT_MAX_PIXELS, check_pixels
from gateway.images.rewrite import rewrite_image
from gateway.images.target import FitMode, Interpolation, Target, placement

__all__ = [
    "ACCEPTED_FORMATS",
    "ACCEPTED_MEDIA_TYPES",
    "DEFAULT_MAX_PIXELS",
    "FitMode",
    "ImageError",
    "ImageTooLarge",
    "Interpolation",
    "InvalidImage",
    "Target",
    "UnsupportedImage",
    "check_pixels",
    "decode_image",
    "open_image",
    "placement",
    "rewrite_image",
    "upright_size",
]
