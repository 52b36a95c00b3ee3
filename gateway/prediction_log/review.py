"""Let people look at kept photos, and record what they decide."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from gateway.errors import PhotoNotFound, ReviewConflict, Unavailable
from gateway.prediction_log.records import Feedback, ReviewDecision, Shadow, Verdict
from gateway.prediction_log.review_index import Counts, Reason, ReviewIndex
from gateway.prediction_log.review_photo import Filters, Photo
from gateway.prediction_log.review_reader import ReviewReader
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

SEGMENT_SECONDS = 5.0
"""Age at which a segment of reviews is closed, so that other gateways read them soon."""

SEGMENT_BYTES = 2**20

REFRESH_SECONDS = 5.0
"""How often the storage is asked for new records and photos, while somebody reviews."""

THREADS = 4
"""Threads that read the storage, apart from those of requests: it may be slow."""

VERDICTS: Mapping[ReviewDecision, Verdict] = MappingProxyType(
    {
        "confirmed": "right",
        "relabelled": "wrong",
        "discarded": "none",
        "deleted": "none",
        "withdrawn": "withdrawn",
    }
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A photo, as it is at the moment.

    Attributes:
        photo: The photo; do not use it later.
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

    Args:
        storage: The prediction log.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._index = ReviewIndex()
        self._reader = ReviewReader(storage, self._index)
        self._segments = Segments(storage, SEGMENT_BYTES, SEGMENT_SECONDS, "review")
        self._threads = ThreadPoolExecutor(THREADS, "review")
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._storage_read_at: float | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the open segment. Storage that hangs is not waited for."""
        for task in (self._refreshing, self._closing):
            if task is not None:
                task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        async with self._writing:
            try:
                await asyncio.to_thread(self._segments.close)
            except OSError as error:
                _stays_open(error)

    async def page(
        self, filters: Filters, after: tuple[float, str] | None, number: int, view: Callable[[Reviewed], T]
    ) -> tuple[list[T], bool, Counts]:
        """A page of photos, the most useful ones first.

        Args:
            filters: Which photos.
            after: The `place` of the last photo of the page before.
            number: How many photos at most.
            view: Turns a photo into what is returned; called in another thread.

        Returns:
            The page, whether there may be more, and the counts of all photos.

        Raises:
            Unavailable: The storage cannot be read.
        """
        await self._refresh()

        def listed() -> tuple[list[T], bool, Counts]:
            with self._index.lock:
                photos, more = self._index.page(filters, after, number)
                return [view(self._reviewed(photo)) for photo in photos], more, self._index.counts()

        return await self._run(listed)

    async def photo(self, digest: str, view: Callable[[Reviewed], T]) -> T:
        """One photo.

        Raises:
            PhotoNotFound: There is no such photo.
            Unavailable: The storage cannot be read.
        """
        await self._refresh()
        return await self._run(partial(self._view, digest, view))

    async def image(self, digest: str) -> bytes:
        """The JPEG file of a photo.

        Raises:
            PhotoNotFound: There is no such photo.
            Unavailable: The storage cannot be read.
        """
        await self._refresh()

        def read() -> bytes:
            for day in self._index.days(digest):
                try:
                    return self._storage.read(_stored_name(day, digest))
                except FileNotFoundError:
                    continue
            self._index.remove(digest)
            raise _missing(digest)

        return await self._run(read)

    async def decide(
        self,
        digest: str,
        decision: ReviewDecision,
        label: str | None,
        seen: int | None,
        reviewer: str | None,
        view: Callable[[Reviewed], T],
    ) -> T | None:
        """Record a decision. It is written to a local file when this returns.

        Args:
            digest: The photo.
            decision: The decision. With ``deleted``, the photo is also deleted from the storage.
            label: The right label, for ``confirmed`` and ``relabelled``.
            seen: Number of decisions that the reviewer has seen; None for any.
            reviewer: Name of the reviewer's key.
            view: Turns the photo into what is returned.

        Returns:
            The photo after the decision; None if it was deleted.

        Raises:
            PhotoNotFound: There is no such photo.
            ReviewConflict: There are other decisions than the reviewer has seen.
            Unavailable: The storage fails.
        """
        await self._refresh()
        async with self._writing:
            await self._read_spool()  # decisions that other processes of this machine have recorded meanwhile
            done = await self._run(partial(self._decide, digest, decision, label, seen, reviewer, view))
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close_segments())
        return done

    def _decide(
        self,
        digest: str,
        decision: ReviewDecision,
        label: str | None,
        seen: int | None,
        reviewer: str | None,
        view: Callable[[Reviewed], T],
    ) -> T | None:
        with self._index.lock:
            photo = self._known(digest)
            if seen is not None and seen != len(photo.reviews):
                raise _conflict(photo)
            model = photo.answer.model
        if decision == "deleted":
            self._delete(digest)
        review = Feedback(
            digest=digest, model=model, verdict=VERDICTS[decision], label=label, key=reviewer, review=decision
        )
        line = review.model_dump_json().encode() + b"\n"
        self._segments.append([line])
        self._index.add([line])
        if decision == "deleted":
            self._index.remove(digest)
            return None
        return self._view(digest, view)

    def _view(self, digest: str, view: Callable[[Reviewed], T]) -> T:
        with self._index.lock:
            return view(self._reviewed(self._known(digest)))

    def _delete(self, digest: str) -> None:
        """Delete a photo wherever it is."""
        for day in self._index.days(digest):
            self._storage.delete(_stored_name(day, digest))
        for path in self._storage.spool.glob(f"*~{digest}.jpg"):
            path.unlink(missing_ok=True)

    def _known(self, digest: str) -> Photo:
        photo = self._index.get(digest)
        if photo is None:
            raise _missing(digest)
        return photo

    def _reviewed(self, photo: Photo) -> Reviewed:
        index = self._index
        return Reviewed(photo, index.reasons(photo), index.feedback(photo), index.shadows(photo), index.place(photo))

    async def _refresh(self) -> None:
        """Bring the index up to date: the first time completely, later in the background."""
        if self._storage_read_at is None:
            async with self._reading:
                if self._storage_read_at is None:
                    await self._run(self._read_storage)
        elif time.monotonic() - self._storage_read_at >= REFRESH_SECONDS and (
            self._refreshing is None or self._refreshing.done()
        ):
            self._refreshing = asyncio.create_task(self._refresh_storage())

    async def _refresh_storage(self) -> None:
        async with self._reading:
            try:
                await self._run(self._read_storage)
            except Unavailable as error:
                logger.warning("the prediction log cannot be read for the review: %s", error.__cause__)

    def _read_storage(self) -> None:
        self._reader.read_storage()
        self._reader.read_spool()
        self._index.arrange()
        self._storage_read_at = time.monotonic()

    async def _read_spool(self) -> None:
        if not self._reading.locked():  # otherwise it is being read, and the storage may be slow
            async with self._reading:
                await self._run(self._reader.read_spool)

    async def _close_segments(self) -> None:
        """Close the open segment when it is old enough."""
        while True:
            await asyncio.sleep(SEGMENT_SECONDS / 5)
            async with self._writing:
                if self._segments.due():
                    try:
                        await self._run(self._segments.close)
                    except Unavailable as error:
                        _stays_open(error.__cause__)
                    return

    async def _run(self, work: Callable[[], T]) -> T:
        """Run what may take long in a thread of its own.

        Raises:
            Unavailable: It raised an `OSError`.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise Unavailable("The storage of the prediction log cannot be used at the moment.") from error


def _stays_open(error: BaseException | None) -> None:
    logger.warning("a segment of reviews stays open; the next gateway closes it: %s", error)


def _stored_name(day: str, digest: str) -> str:
    return f"photos/{day}/{digest}.jpg"


def _missing(digest: str) -> PhotoNotFound:
    return PhotoNotFound(f"The prediction log has no photo {digest}; it was deleted, or never kept.")


def _conflict(photo: Photo) -> ReviewConflict:
    last = photo.reviews[-1] if photo.reviews else None
    said = "" if last is None else f" The last decision is {last.review!r}, by {last.key}."
    return ReviewConflict(f"Somebody else has decided about this photo meanwhile.{said}")
