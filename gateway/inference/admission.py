"""How much work is taken on: permits that refuse at once instead of a queue that grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded

CALLER_SHARE = 4
"""One caller may hold a quarter of everything while others hold anything."""

BATCH_SHARE = 0.75
"""Share of the images that batches may take together; the rest is for requests of one image."""


class Admission:
    """Permits for images in work, and for the uploads they come from.

    Args:
        max_images: Images in work, from the moment their bytes are complete until the answer.
        max_uploads: Requests whose body is being received.
        max_upload_bytes: Bytes of bodies held at once, complete ones until their answer included. They are counted as
            they arrive: what a caller says it will send takes no room from others.
        max_body_bytes: Size of the largest body that any route accepts.
    """

    def __init__(self, max_images: int, max_uploads: int, max_upload_bytes: int, max_body_bytes: int) -> None:
        self.max_images = max_images
        self.max_uploads = max_uploads
        self.max_upload_bytes = max_upload_bytes
        self._max_caller_bytes = max(max_upload_bytes // CALLER_SHARE, max_body_bytes)
        self._images: Counter[str] = Counter()
        self._upload_bytes: Counter[str] = Counter()
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
    def admit(self, caller: str, images: int) -> Iterator[None]:
        """Hold permits for that many images of a caller.

        Raises:
            Overloaded: There are not as many left, or others want them.
        """
        held = self._images[caller]
        if self.in_flight + images > self.max_images:
            raise Overloaded("The gateway is at capacity. Try again later.")
        if images > 1 and self.in_flight and self.in_flight + images > self.max_images * BATCH_SHARE:
            raise Overloaded("The gateway is at its capacity for batches. Try again later.")
        if held and self.in_flight > held and held + images > self.max_images // CALLER_SHARE:
            raise Overloaded("You have the maximum number of images in progress for one caller. Try again later.")
        self.in_flight += images
        self._images[caller] += images
        try:
            yield
        finally:
            self.in_flight -= images
            _subtract(self._images, caller, images)

    def check_batch(self) -> None:
        """Refuse a batch before its body is read, which would be for nothing.

        Raises:
            Overloaded: The batches in work hold all that they may.
        """
        if self.in_flight >= self.max_images * BATCH_SHARE:
            raise Overloaded("The gateway is at its capacity for batches. Try again later.")

    def begin_upload(self) -> None:
        """Take the permit for one body to be received; `end_upload` gives it back.

        Raises:
            Overloaded: As many are being received as may be.
        """
        # A full house is told before its body is read, which would be for nothing.
        if self.uploads >= self.max_uploads or self.in_flight >= self.max_images:
            raise Overloaded("The gateway is receiving the maximum number of uploads. Try again later.")
        self.uploads += 1

    def end_upload(self) -> None:
        """Give back the permit for a body."""
        self.uploads -= 1

    def hold(self, caller: str, count: int) -> None:
        """Take room for bytes of a caller's body that have arrived; `release` gives it back.

        Raises:
            Overloaded: There is not as much left, or others want it.
        """
        held = self._upload_bytes[caller]
        if self.upload_bytes + count > self.max_upload_bytes:
            raise Overloaded("The gateway has no memory left for further uploads. Try again later.")
        if self.upload_bytes > held and held + count > self._max_caller_bytes:
            raise Overloaded("Your uploads in progress use all the memory for one caller. Try again later.")
        self.upload_bytes += count
        self.received_bytes += count
        self._upload_bytes[caller] += count

    def release(self, caller: str, count: int) -> None:
        """Give back room that was taken."""
        self.upload_bytes -= count
        _subtract(self._upload_bytes, caller, count)


def _subtract(counts: Counter[str], caller: str, count: int) -> None:
    counts[caller] -= count
    if not counts[caller]:
        del counts[caller]
