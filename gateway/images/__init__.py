"""Decode images to uint8 RGB pixels. Training and serving share this preprocessing.

This package imports only Pillow, NumPy, pillow-heif and the standard library, and nothing else of the gateway, so that
the trainer and the worker processes can import it alone. Names that need a decoder are imported on first use: `Target`,
the limits and the errors do not load Pillow.

Decoding runs in the calling thread. Its time is not limited, and neither is its memory if the header of a file is
wrong. Decode untrusted files in a process with limits.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gateway.images.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from gateway.images.limits import DEFAULT_MAX_PIXELS, check_pixels
from gateway.images.target import FitMode, Interpolation, Target, placement

if TYPE_CHECKING:
    from gateway.images.decode import decode_image, upright_size
    from gateway.images.formats import ACCEPTED_FORMATS, ACCEPTED_MEDIA_TYPES, open_image
    from gateway.images.rewrite import rewrite_image

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

_MODULES = {
    "ACCEPTED_FORMATS": "formats",
    "ACCEPTED_MEDIA_TYPES": "formats",
    "decode_image": "decode",
    "open_image": "formats",
    "rewrite_image": "rewrite",
    "upright_size": "decode",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
