"""What is wrong with an encoded image, for the person who sent it."""

from typing import ClassVar


class ImageError(ValueError):
    """Bytes that cannot be made into pixels; the message is for the person who sent them.

    Attributes:
        code: A short name of the kind of error, for programs. It never changes.
    """

    code: ClassVar[str] = "image_error"


class UnsupportedImage(ImageError):
    """Not an image, or one of a format that is not accepted."""

    code = "unsupported_image"


class InvalidImage(ImageError):
    """Of an accepted format, but empty, cut short or corrupt."""

    code = "invalid_image"


class ImageTooLarge(ImageError):
    """More pixels than are decoded."""

    code = "image_too_large"
