"""Errors of encoded images. Their messages are for the user who sent the image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ImageError(ValueError):
    """The image cannot be decoded. Its `code` is stable."""

    code: ClassVar[str] = "image_error"


class UnsupportedImage(ImageError):
    """Not an image, or the format or variant is not accepted."""

    code = "unsupported_image"


class InvalidImage(ImageError):
    """The file is empty, truncated, corrupt, or built to be expensive.

    A higher pixel limit or more memory cannot help.
    """

    code = "invalid_image"


class ImageTooLarge(ImageError):
    """The image has more pixels, or a JPEG more scans, than ``max_pixels`` allows. Raised before decoding.

    Only this error can go away with a higher ``max_pixels``. A decoder that runs out of memory raises `InvalidImage`
    instead: images of an accepted size fit into memory, so the header of the file must be wrong.
    """

    code = "image_too_large"


@contextmanager
def decoder_errors(name: str) -> Iterator[None]:
    """Convert exceptions of a decoder into an `ImageError` whose message has the name of the format.

    Pillow raises OSError, SyntaxError, ValueError, struct.error, EOFError, KeyError, zlib.error and others for corrupt
    files, so this catches everything. Use it only around calls of decoders.

    Raises:
        InvalidImage: The decoder failed, or ran out of memory.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise InvalidImage(f"The {name} image needs far more memory than its size justifies.") from error
    except Exception as error:
        raise InvalidImage(f"The {name} image is truncated or corrupt and cannot be decoded.") from error
