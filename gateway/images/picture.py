"""An image whose header has been read and whose pixels have not."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageFile


class Picture(Protocol):
    """What the module of a format gives for a file that it accepts."""

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
            shrink: How many times smaller than stored the image will be; 1 where every pixel is wanted. A decoder that
                can decode at a fraction of the size may do so, as long as at least twice the final size remains.

        Returns:
            The image in any mode of Pillow, and the whole number by which it is smaller than stored.

        Raises:
            ImageTooLarge: At this scale it would take more memory than the limit allows.
        """
        ...


@dataclass(frozen=True, slots=True)
class PillowPicture:
    """A file that Pillow decodes at its full size only."""

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
