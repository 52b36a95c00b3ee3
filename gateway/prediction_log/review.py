"""Let people look at kept photos, and decide about them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gateway.errors import Unavailable
from gateway.prediction_log.records import Feedback, Shadow
from gateway.prediction_log.review_decisions import Decision, Decisions
from gateway.prediction_log.review_index import Counts, Reason, ReviewIndex, missing
from gateway.prediction_log.review_photo import Filters, Photo
from gateway.prediction_log.review_reader import ReviewReader
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
"""How often the storage is asked for new records and photos, while somebody reviews."""

CLOSE_DUE_SECONDS = 1.0
"""How often it is checked whether the open segment of decisions is to be closed."""

THREADS = 4
"""Threads that read the storage, apart from those of requests: it may be slow."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A photo as it was when it was asked for.

    Attributes:
        reasons: Why it is useful to look at.
        feedback: What people said about its answers.
        shadows: What shadows answered.
        place: Where it is in the order.
    """

    photo: Photo
    reasons: list[Reason]
    feedback: list[Feedback]
    shadows: list[Shadow]
    place: tuple[float, str]


class Review:
    """Lists kept photos, and records decisions about them.

    Each decision is a record of its own, so reviewers never overwrite each other. A decision says how many decisions
    the reviewer has seen, and is refused if there are more by now. Gateways on other machines learn of a decision some
    seconds later; if both record one meanwhile, the photo is listed as a conflict, and the last decision counts.

    The work is done in threads, under locks of their own: a thread goes on when the request is cancelled. All methods
    raise Unavailable if the storage fails, and PhotoNotFound if a photo is not there.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._index = ReviewIndex()
        self._reader = ReviewReader(storage, self._index)
        self._decisions = Decisions(storage, self._index, self._reader)
        self._threads = ThreadPoolExecutor(THREADS, "review")
        self._reading = threading.Lock()
        self._storage_read_at: float | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the open segment. Storage that hangs is not waited for."""
        for task in (self._refreshing, self._closing):
            if task is not None:
                task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._decisions.close)

    async def page(
        self, filters: Filters, after: tuple[float, str] | None, number: int
    ) -> tuple[list[Reviewed], bool, Counts]:
        """A page of photos, the most useful ones first.

        Args:
            filters: Which photos.
            after: The `place` of the last photo of the page before.
            number: How many photos at most.

        Returns:
            The page, whether there may be more, and the counts of all photos.
        """
        await self._refresh()

        def listed() -> tuple[list[Reviewed], bool, Counts]:
            with self._index.lock:
                photos, more = self._index.page(filters, after, number)
                return [self._reviewed(photo) for photo in photos], more, self._index.counts

        return await self._run(listed)

    async def photo(self, digest: str) -> Reviewed:
        """One photo."""
        await self._refresh()
        return await self._run(partial(self._require, digest))

    async def image(self, digest: str) -> bytes:
        """The JPEG file of a photo."""
        await self._refresh()

        def read() -> bytes:
            names = self._index.names(digest)
            for name in names:
                try:
                    return self._storage.read(name)
                except FileNotFoundError:
                    continue
            if names:
                self._index.remove(digest)
            raise missing(digest)

        return await self._run(read)

    async def decide(self, decision: Decision) -> Reviewed | None:
        """Record a decision. It is written to a local file when this returns.

        Returns:
            The photo after the decision; None if it was deleted.

        Raises:
            ReviewConflict: There are other decisions than the reviewer has seen.
            BadRequest: The decision names a label, and a multi-label model has answered the photo.
        """
        await self._refresh()
        if self._closing is None or self._closing.done():  # it ends if the storage fails
            self._closing = asyncio.create_task(self._close_due())

        def work() -> Reviewed | None:
            self._decisions.record(decision)
            return None if decision.review == "deleted" else self._require(decision.digest)

        return await self._run(work)

    def _require(self, digest: str) -> Reviewed:
        with self._index.lock:
            return self._reviewed(self._index.require(digest))

    def _reviewed(self, photo: Photo) -> Reviewed:
        """A copy of a photo, which can be used without the lock."""
        index, copy = self._index, replace(photo, answers=dict(photo.answers), reviews=list(photo.reviews))
        return Reviewed(copy, index.reasons(photo), index.feedback(photo), index.shadows(photo), index.place(photo))

    async def _refresh(self) -> None:
        """Bring the index up to date: the first time completely, later in the background."""
        if self._storage_read_at is None:
            await self._run(partial(self._read_storage, only_first=True))
        elif time.monotonic() - self._storage_read_at >= REFRESH_SECONDS and (
            self._refreshing is None or self._refreshing.done()
        ):
            self._refreshing = asyncio.create_task(self._refresh_storage())

    async def _refresh_storage(self) -> None:
        try:
            await self._run(self._read_storage)
        except Unavailable as error:
            logger.warning("the prediction log cannot be read for the review: %s", error.__cause__)

    def _read_storage(self, *, only_first: bool = False) -> None:
        with self._reading:
            if only_first and self._storage_read_at is not None:
                return  # another thread has read it meanwhile
            self._reader.read_storage()
            self._reader.read_spool()
            self._index.arrange()
            self._storage_read_at = time.monotonic()

    async def _close_due(self) -> None:
        """Close segments of decisions when they are old enough."""
        while True:
            await asyncio.sleep(CLOSE_DUE_SECONDS)
            await self._run(self._decisions.close_due)

    async def _run(self, work: Callable[[], T]) -> T:
        """Run what may take long in a thread of its own."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise Unavailable("The storage of the prediction log cannot be used at the moment.") from error
