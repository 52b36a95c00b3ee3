"""Limits on the work in progress. A request over a limit is refused at once instead of queued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded

CALLER_SHARE = 4
"""One caller may hold one part in so many of a limit, while others hold any of it."""

BATCH_SHARE = 0.75
"""Share of the images that batch requests may hold together. The rest is for requests with one image."""


class Admission:
    """Permits for images in progress and for uploads.

    Args:
        max_images: Limit on images in progress: from the end of their upload to the answer.
        max_uploads: Limit on concurrent uploads.
        max_upload_bytes: Limit on the bytes of all bodies, from their arrival to the answer. Bytes are counted as they
            arrive, not as they are announced.
        max_body_bytes: Largest body that any route accepts.
    """

    def __init__(self, max_images: int, max_uploads: int, max_upload_bytes: int, max_body_bytes: int) -> None:
        self.max_images = max_images
        self.max_uploads = max_uploads
        self.max_upload_bytes = max_upload_bytes
        self._max_caller_bytes = max(max_upload_bytes // CALLER_SHARE, max_body_bytes)
        self._images: Counter[str] = Counter()
        self._upload_bytes: Counter[str] = Counter()
        self.in_flight = 0
        """Number of images in progress."""
        self.uploads = 0
        """Number of uploads in progress."""
        self.upload_bytes = 0
        """Bytes of all bodies."""
        self.received_bytes = 0
        """Bytes of bodies that were held so far."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in work or on its way."""
        return not (self.in_flight or self.uploads or self.upload_bytes)

    @contextmanager
    def admit(self, caller: str, images: int) -> Iterator[None]:
        """Hold permits for a number of images of a caller.

        Raises:
            Overloaded: Not enough permits are left, or the caller would exceed its share.
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
        """Refuse a batch request before its body is read.

        Raises:
            Overloaded: Batches hold all the permits that they may.
        """
        if self.in_flight >= self.max_images * BATCH_SHARE:
            raise Overloaded("The gateway is at its capacity for batches. Try again later.")

    def begin_upload(self) -> None:
        """Take the permit for one body to be received; `end_upload` gives it back.

        Raises:
            Overloaded: The limit on uploads is reached.
        """
        # If no image could be admitted, refuse before the body is read.
        if self.uploads >= self.max_uploads or self.in_flight >= self.max_images:
            raise Overloaded("The gateway is receiving the maximum number of uploads. Try again later.")
        self.uploads += 1

    def end_upload(self) -> None:
        """Give back the permit for a body."""
        self.uploads -= 1

    def hold(self, caller: str, count: int) -> None:
        """Count bytes of a caller's body that have arrived; `release` gives them back.

        Raises:
            Overloaded: The limit is reached, or the caller would exceed its share.
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
        """Give back bytes."""
        self.upload_bytes -= count
        _subtract(self._upload_bytes, caller, count)


def _subtract(counts: Counter[str], caller: str, count: int) -> None:
    counts[caller] -= count
    if not counts[caller]:
        del counts[caller]
