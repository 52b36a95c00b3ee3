"""How much work is taken on: permits that refuse at once instead of a queue that grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded


class Admission:
    """Permits for images in work, and for the uploads they come from.

    Args:
        max_images: Images in work, from the moment their bytes are complete until the answer.
        max_uploads: Requests whose body is being received.
        max_upload_bytes: Bytes of bodies held at once, complete ones until their answer included. They are counted as
            they arrive: what a caller says it will send takes no room from others.
    """

    def __init__(self, max_images: int, max_uploads: int, max_upload_bytes: int) -> None:
        self.max_images = max_images
        self.max_uploads = max_uploads
        self.max_upload_bytes = max_upload_bytes
        self.in_flight = 0
        """Images in work now."""
        self.uploads = 0
        """Bodies being received now."""
        self.upload_bytes = 0
        """Bytes of bodies held now."""
        self.received_bytes = 0
        """Bytes of bodies that were held so far."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in work or on its way."""
        return not (self.in_flight or self.uploads or self.upload_bytes)

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold permits for that many images.

        Raises:
            Overloaded: There are not as many left.
        """
        if self.in_flight + images > self.max_images:
            raise Overloaded("The gateway has all the work that it can do at the moment.")
        self.in_flight += images
        try:
            yield
        finally:
            self.in_flight -= images

    def begin_upload(self) -> None:
        """Take the permit for one body to be received; `end_upload` gives it back.

        Raises:
            Overloaded: As many are being received as may be.
        """
        # A full house is told before its body is read, which would be for nothing.
        if self.uploads >= self.max_uploads or self.in_flight >= self.max_images:
            raise Overloaded("The gateway receives as many uploads as it can at the moment.")
        self.uploads += 1

    def end_upload(self) -> None:
        """Give back the permit for a body."""
        self.uploads -= 1

    def hold(self, count: int) -> None:
        """Take room for bytes of a body that have arrived; `release` gives it back.

        Raises:
            Overloaded: There is not as much left.
        """
        if self.upload_bytes + count > self.max_upload_bytes:
            raise Overloaded("The gateway holds as many bytes of uploads as it can at the moment.")
        self.upload_bytes += count
        self.received_bytes += count

    def release(self, count: int) -> None:
        """Give back room that was taken."""
        self.upload_bytes -= count
