"""What can be wrong with an encoded image. Every message is for the person who sent it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ImageError(ValueError):
    """The bytes cannot be made into pixels.

    Attributes:
        code: A short, stable name of the kind of error, for programs.
    """

    code: ClassVar[str] = "image_error"


class UnsupportedImage(ImageError):
    """Not an image, or an image of a format or variant that is not accepted."""

    code = "unsupported_image"


class InvalidImage(ImageError):
    """An accepted format, but the file is empty, truncated, corrupt or built to be expensive.

    Decoding it again with a higher pixel limit or with more memory gives the same answer.
    """

    code = "invalid_image"


class ImageTooLarge(ImageError):
    """The image has more pixels, or a JPEG more scans, than ``max_pixels`` allows; told before its pixels are decoded.

    This is the only error that a higher ``max_pixels`` can cure. A decoder that runs out of memory raises
    `InvalidImage` instead: files of an accepted size fit, so the file is not what its header says.
    """

    code = "image_too_large"


@contextmanager
def decoder_errors(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises for a broken file into an `ImageError`.

    Pillow raises OSError, SyntaxError, ValueError, struct.error, EOFError, KeyError, zlib.error and others for broken
    files, so this catches everything. Wrap calls of decoders with it and nothing else.

    Args:
        name: The format, for the message.

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
