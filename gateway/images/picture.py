"""An image whose header has been read, but not its pixels."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageFile


class Picture(Protocol):
    """An accepted file; the module of each format returns one."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored, before the EXIF orientation is applied."""
        ...

    @property
    def orientation(self) -> int:
        """EXIF orientation, 1 to 8; 1 is upright."""
        ...

    def load(self, shrink: float) -> tuple[Image.Image, int]:
        """Decode the pixels.

        Args:
            shrink: Factor by which the image will be reduced; 1 if every pixel is needed. A decoder may decode at a
                fraction of the size, if the result has at least twice the final size.

        Returns:
            The image in any mode of Pillow, and the integer factor by which it was reduced.

        Raises:
            ImageTooLarge: At this scale it would take more memory than the limit allows.
        """
        ...


@dataclass(frozen=True, slots=True)
class PillowPicture:
    """A file that Pillow can only decode at its full size."""

    file: ImageFile.ImageFile
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """As `Picture.size`."""
        return self.file.size

    def load(self, shrink: float) -> tuple[Image.Image, int]:
        """As `Picture.load`."""
        del shrink
        self.file.load()
        return self.file, 1
