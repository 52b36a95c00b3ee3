"""Kept photos with their answers, feedback and reviews, in memory, the most useful ones first.

Photos are useful to look at if people disagreed with the answer, if versions disagree, or if the model was unsure.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import ValidationError

from gateway.errors import PhotoNotFound
from gateway.prediction_log.records import RECORD, Feedback, Prediction, Shadow, margin
from gateway.prediction_log.review_photo import MAX_REQUESTS, Filters, Photo

MAX_PHOTOS = 20_000
"""Number of photos in the index; the newest ones. One takes about 2 KiB."""

MAX_FEEDBACK = 200_000
"""Number of feedback records in the index; the newest ones."""

MAX_SHADOWS = 50_000
"""Number of answers of shadows in the index; the newest ones."""

UNSURE_MARGIN = 0.2
"""Difference of the two best scores, or `margin` of a multi-label answer, below which an answer is shown as unsure."""

Reason = Literal["feedback", "versions", "unknown", "unsure"]
Key = TypeVar("Key")
Timed = TypeVar("Timed", Feedback, Shadow)
About = tuple[str, int] | str
"""What feedback is about: request ID and position, or the digest of a photo."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many photos there are.

    Attributes:
        status: By `Photo.status`.
        labels: By label of the newest answer; an empty text for unknown photos.
        versions: By model and version of the newest answer.
    """

    status: Mapping[str, int]
    labels: Mapping[str, int]
    versions: Mapping[tuple[str, int], int]


class ReviewIndex:
    """The photos of a prediction log.

    Attributes:
        lock: Hold it while you use a `Photo`. Methods take it themselves.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._photos: dict[str, Photo] = {}
        self._feedback: dict[About, Feedback] = {}
        self._shadows: dict[tuple[str, int], Shadow] = {}
        self._by_request: dict[tuple[str, int], Photo] = {}
        self._stored: dict[str, set[str]] = {}
        self._removed: set[str] = set()
        self._digests: set[str] = set()
        self._order: list[tuple[float, str]] = []
        self.counts = Counts({}, {}, {})
        """How many photos there were when they were last arranged."""
        self._changed = False

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, lines: Iterable[bytes]) -> int:
        """Add records, in any order. Call `arrange` afterwards.

        Returns:
            Number of lines that are not records, or are records of a newer gateway. They are left out.
        """
        unreadable = 0
        for line in lines:
            if b'"photo":null' in line:  # most records, if few photos are kept
                continue
            try:
                record = RECORD.validate_json(line)
            except ValidationError:
                unreadable += 1
                continue
            with self.lock:
                self._changed = True
                if isinstance(record, Prediction):
                    self._add_answer(record)
                elif isinstance(record, Feedback):
                    self._add_feedback(record)
                else:
                    self._add_shadow(record)
        return unreadable

    def begin_listing(self) -> None:
        """Call this before the storage is listed for `set_stored`.

        A photo that is removed from now on may still be in the lists, and is left out.
        """
        with self.lock:
            self._removed.clear()

    def set_stored(self, day: str, digests: Set[str]) -> None:
        """Set which photos are in the storage for a day. Call `arrange` afterwards."""
        with self.lock:
            stored = set(digests) - self._removed
            self._changed |= self._stored.get(day) != stored
            self._stored[day] = stored

    def keep_days(self, days: Set[str]) -> None:
        """Forget the photos of all other days. Call `arrange` afterwards."""
        with self.lock:
            self._changed |= bool(self._stored.keys() - days)
            self._stored = {day: digests for day, digests in self._stored.items() if day in days}

    def arrange(self) -> None:
        """Sort the photos, the most useful ones first, and count them, if anything has changed."""
        with self.lock:
            if not self._changed:
                return
            self._changed = False
            if len(self._photos) > 1.1 * MAX_PHOTOS:
                newest = sorted(self._photos.values(), key=lambda photo: photo.newest.time if photo.newest else OLD)
                self._photos = {photo.digest: photo for photo in newest[-MAX_PHOTOS:]}
                self._by_request = {request: photo for photo in self._photos.values() for request in photo.requests}
            self._feedback = _newest(self._feedback, MAX_FEEDBACK)
            self._shadows = _newest(self._shadows, MAX_SHADOWS)
            stored = set().union(*self._stored.values())
            photos = [photo for photo in self._photos.values() if photo.newest is not None and photo.digest in stored]
            self._digests = {photo.digest for photo in photos}
            self._order = sorted((-self._usefulness(photo), photo.digest) for photo in photos)
            answers = [photo.answer for photo in photos]
            self.counts = Counts(
                Counter(photo.status for photo in photos),
                Counter(answer.label or "" for answer in answers),
                Counter((answer.model, answer.version) for answer in answers),
            )

    def page(self, filters: Filters, after: tuple[float, str] | None, number: int) -> tuple[list[Photo], bool]:
        """The photos after a `place` in the order, `number` at most, and whether there may be more."""
        with self.lock:
            photos: list[Photo] = []
            for at in range(bisect_right(self._order, after) if after else 0, len(self._order)):
                photo = self.get(self._order[at][1])
                if photo is not None and filters.accept(photo):
                    if len(photos) == number:
                        return photos, True
                    photos.append(photo)
            return photos, False

    def get(self, digest: str) -> Photo | None:
        """The photo, if there was one when photos were last arranged."""
        with self.lock:
            return self._photos.get(digest) if digest in self._digests else None

    def require(self, digest: str) -> Photo:
        """The photo, as `get` returns it; raises PhotoNotFound if there is none."""
        photo = self.get(digest)
        if photo is None:
            raise missing(digest)
        return photo

    def names(self, digest: str) -> list[str]:
        """Names in the storage under which the photo may be, the newest first."""
        with self.lock:
            photo = self._photos.get(digest)
            answered = {f"{one.time:%Y-%m-%d}" for one in photo.answers.values()} if photo is not None else set()
            stored = {day for day, digests in self._stored.items() if digest in digests}
            return [f"photos/{day}/{digest}.jpg" for day in sorted(answered | stored, reverse=True)]

    def remove(self, digest: str) -> None:
        """Forget that the photo is stored."""
        with self.lock:
            self._changed = True
            self._removed.add(digest)
            self._digests.discard(digest)
            for digests in self._stored.values():
                digests.discard(digest)

    def place(self, photo: Photo) -> tuple[float, str]:
        """Where a photo is in the order."""
        with self.lock:
            return -self._usefulness(photo), photo.digest

    def reasons(self, photo: Photo) -> list[Reason]:
        """Why a photo is useful to look at."""
        answer, reasons = photo.answer, list[Reason]()
        if any(one.verdict in ("wrong", "none") for one in self.feedback(photo)):
            reasons.append("feedback")
        others: list[Prediction | Shadow] = [one for one in photo.answers.values() if one.model == answer.model]
        if any(_differ(answer, other) for other in others + self.shadows(photo)):
            reasons.append("versions")
        if answer.label is None and answer.labels is None:
            reasons.append("unknown")
        elif _margin(answer) < UNSURE_MARGIN:
            reasons.append("unsure")
        return reasons

    def feedback(self, photo: Photo) -> list[Feedback]:
        """What people said about the answers to a photo, without reviews."""
        about: list[About] = [*photo.requests, photo.digest]
        feedback = (self._feedback.get(one) for one in about)
        return [one for one in feedback if one is not None and one.verdict != "withdrawn"]

    def shadows(self, photo: Photo) -> list[Shadow]:
        """What shadows answered to the last requests with a photo."""
        shadows = (self._shadows.get(request) for request in photo.requests)
        return [one for one in shadows if one is not None]

    def _usefulness(self, photo: Photo) -> float:
        if photo.usefulness is None:
            reasons = self.reasons(photo)
            unsure = 1.0 if "unknown" in reasons else 1 - _margin(photo.answer)
            photo.usefulness = round(2 * ("feedback" in reasons) + ("versions" in reasons) + unsure, 6)
        return photo.usefulness

    def _add_answer(self, record: Prediction) -> None:
        photo = self._photos.setdefault(record.digest, Photo(record.digest))
        earlier = photo.answers.get((record.model, record.version))
        if earlier is None or earlier.time <= record.time:
            photo.answers[record.model, record.version] = record
        if photo.newest is None or photo.newest.time <= record.time:
            photo.newest = record
        photo.usefulness = None
        request = record.request_id, record.index
        if request in photo.requests:
            return  # the record was read twice
        if len(photo.requests) == MAX_REQUESTS:
            self._by_request.pop(photo.requests[0], None)
        photo.requests.append(request)
        self._by_request[request] = photo

    def _add_feedback(self, record: Feedback) -> None:
        if record.review is not None and record.digest is not None:
            reviews = self._photos.setdefault(record.digest, Photo(record.digest)).reviews
            if record not in reviews:
                reviews.append(record)
                reviews.sort(key=lambda review: review.time)
            return
        about: About | None = record.digest or (
            (record.request_id, record.index) if record.request_id is not None else None
        )
        if about is None:
            return
        earlier = self._feedback.get(about)
        if earlier is None or earlier.time <= record.time:
            self._feedback[about] = record
            photo = self._photos.get(about) if isinstance(about, str) else self._by_request.get(about)
            if photo is not None:
                photo.usefulness = None

    def _add_shadow(self, record: Shadow) -> None:
        request = record.request_id, record.index
        self._shadows[request] = record
        photo = self._by_request.get(request)
        if photo is not None:
            photo.usefulness = None


def _newest(records: dict[Key, Timed], number: int) -> dict[Key, Timed]:
    """The newest of the records, if they are many more than this number."""
    if len(records) <= 1.1 * number:
        return records
    return dict(sorted(records.items(), key=lambda item: item[1].time)[-number:])


def missing(digest: str) -> PhotoNotFound:
    """The error for a photo that is not there."""
    return PhotoNotFound(f"The prediction log has no photo {digest}; it was deleted, or never kept.")


OLD = datetime.min.replace(tzinfo=UTC)


def _margin(answer: Prediction) -> float:
    return margin([one.score for one in answer.scores]) if answer.margin is None else answer.margin


def _differ(answer: Prediction, other: Prediction | Shadow) -> bool:
    """Whether two answers give different labels, in any order."""
    if answer.labels is not None and other.labels is not None:
        return frozenset(answer.labels) != frozenset(other.labels)
    return answer.label != other.label
