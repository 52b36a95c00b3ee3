"""Limits on the work in progress. A request over a limit is refused at once instead of queued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded
from gateway.workers.turns import Turn

CALLER_SHARE = 4
"""While others use a limit, one caller may hold at most the limit divided by this."""

RESERVED_SHARE = 8
"""A caller who is alone leaves the limit divided by this free for the next caller."""

BATCH_SHARE = 0.75
"""Share of the images that batch requests may hold together. The rest is for requests with one image."""


class Admission:
    """Permits for images in progress and for uploads.

    Args:
        max_images: Limit on images in progress: from the end of their upload to the answer.
        max_uploads: Limit on concurrent uploads.
        max_upload_bytes: Limit on the memory of all requests with a body, until the client has read the answer: the
            bytes of the body that have arrived, and the tensors and answers made from them.
        max_request_bytes: Memory that one request may need. A caller may always hold this much.

    Raises:
        Overloaded: From all methods that take something: not enough is left, or the caller would exceed its share.
    """

    def __init__(self, max_images: int, max_uploads: int, max_upload_bytes: int, max_request_bytes: int) -> None:
        self.max_images = max_images
        self.max_uploads = max_uploads
        self.max_upload_bytes = max_upload_bytes
        self._max_request_bytes = max_request_bytes
        self._images: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._upload_bytes: Counter[str] = Counter()
        self._request_bytes: Counter[Turn] = Counter()
        self.in_flight = 0
        """Number of images in progress."""
        self.uploads = 0
        """Number of uploads in progress."""
        self.upload_bytes = 0
        """Memory that requests hold, in bytes."""
        self.held_bytes = 0
        """Memory that requests have held so far, in bytes."""

    @property
    def is_idle(self) -> bool:
        """Whether no images or uploads are in progress."""
        return not (self.in_flight or self.uploads or self.upload_bytes)

    @contextmanager
    def admit(self, caller: str, images: int) -> Iterator[None]:
        """Hold permits for a number of images of a caller."""
        caller_images = self._images[caller]
        if self.in_flight + images > self.max_images:
            raise Overloaded("The gateway is at capacity. Try again later.")
        if images > 1 and self.in_flight and self.in_flight + images > self.max_images * BATCH_SHARE:
            raise Overloaded("The gateway is at its capacity for batches. Try again later.")
        if caller_images and caller_images + images > _share(self.max_images, others=self.in_flight > caller_images):
            raise Overloaded("You have the maximum number of images in progress for one caller. Try again later.")
        self.in_flight += images
        self._images[caller] += images
        try:
            yield
        finally:
            self.in_flight -= images
            _subtract(self._images, caller, images)

    @contextmanager
    def call(self, caller: str, limit: int) -> Iterator[None]:
        """Hold a permit for a gRPC call, of which a caller has at most `limit`, until the client has its answer."""
        if self._calls[caller] >= limit:
            raise Overloaded("You have the maximum number of calls in progress for one caller. Try again later.")
        self._calls[caller] += 1
        try:
            yield
        finally:
            _subtract(self._calls, caller, 1)

    def check_batch(self) -> None:
        """Refuse a batch request before its body is read, if batches hold all the permits that they may."""
        if self.in_flight >= self.max_images * BATCH_SHARE:
            raise Overloaded("The gateway is at its capacity for batches. Try again later.")

    def begin_upload(self, caller: str) -> None:
        """Take a permit for receiving a body; `end_upload` releases it."""
        # If no image could be admitted, refuse before the body is read.
        if self.uploads >= self.max_uploads or self.in_flight >= self.max_images:
            raise Overloaded("The gateway is receiving the maximum number of uploads. Try again later.")
        caller_uploads = self._uploads[caller]
        if caller_uploads and caller_uploads + 1 > _share(self.max_uploads, others=self.uploads > caller_uploads):
            raise Overloaded("You have the maximum number of uploads for one caller. Try again later.")
        self.uploads += 1
        self._uploads[caller] += 1

    def end_upload(self, caller: str) -> None:
        """Release the permit for a body."""
        self.uploads -= 1
        _subtract(self._uploads, caller, 1)

    def hold(self, turn: Turn, count: int) -> None:
        """Count bytes that a request holds in memory; `release` gives them back."""
        if not count:
            return  # so that there is nothing to release
        caller, _ = turn
        caller_bytes = self._upload_bytes[caller]
        if self.upload_bytes + count > self.max_upload_bytes:
            raise Overloaded("The gateway has no memory left for further requests. Try again later.")
        share = max(_share(self.max_upload_bytes, others=self.upload_bytes > caller_bytes), self._max_request_bytes)
        if caller_bytes + count > share:
            raise Overloaded("Your requests in progress use all the memory for one caller. Try again later.")
        self.upload_bytes += count
        self.held_bytes += count
        self._upload_bytes[caller] += count
        self._request_bytes[turn] += count

    def held_by(self, turn: Turn) -> int:
        """Bytes that a request holds."""
        return self._request_bytes.get(turn, 0)

    def release(self, turn: Turn, keep: int = 0) -> None:
        """Give back the bytes of a request, except for `keep` of them."""
        count = self._request_bytes.pop(turn, 0) - keep
        if keep:
            self._request_bytes[turn] = keep
        self.upload_bytes -= count
        _subtract(self._upload_bytes, turn[0], count)


def _share(limit: int, *, others: bool) -> int:
    """How much of a limit one caller may hold, depending on whether others hold any of it."""
    return limit // CALLER_SHARE if others else limit - limit // RESERVED_SHARE


def _subtract(counts: Counter[str], caller: str, count: int) -> None:
    counts[caller] -= count
    if not counts[caller]:
        del counts[caller]
