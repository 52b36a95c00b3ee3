"""Encoded image bytes to uint8 RGB pixels: the one preprocessing that training and serving share.

This package imports Pillow, NumPy, pillow-heif and the standard library only: no HTTP, no gRPC and nothing else of the
gateway, so that the trainer and the worker processes can import it by itself. Names that need a decoder are imported on
first use; whoever wants only `Target`, the limits or the errors does not load Pillow.

Everything here runs in one process and one thread, and bounds neither its time nor, for files that lie about
themselves, its memory: whoever decodes what strangers send does it in a process with limits.
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
