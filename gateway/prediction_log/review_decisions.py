"""Record what reviewers decide about photos."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.errors import BadRequest, ReviewConflict
from gateway.prediction_log.records import Feedback, ReviewDecision, Verdict
from gateway.prediction_log.review_index import ReviewIndex
from gateway.prediction_log.review_photo import Photo
from gateway.prediction_log.review_reader import ReviewReader
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

SEGMENT_SECONDS = 5.0
"""Age at which a segment of decisions is closed, so that other gateways read them soon."""

SEGMENT_BYTES = 2**20

CLOSE_SECONDS = 2.0
"""How long `Decisions.close` waits for a decision that is being written."""

VERDICTS: Mapping[ReviewDecision, Verdict] = MappingProxyType(
    {
        "confirmed": "right",
        "relabelled": "wrong",
        "discarded": "none",
        "deleted": "none",
        "withdrawn": "withdrawn",
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a photo.

    Attributes:
        review: The decision. With ``deleted``, the photo is also deleted from the storage.
        label: The right label, for ``confirmed`` and ``relabelled``.
        seen: Number of decisions that the reviewer has seen; None for any.
        reviewer: Name of the reviewer's key.
    """

    digest: str
    review: ReviewDecision
    label: str | None
    seen: int | None
    reviewer: str | None


class Decisions:
    """Writes decisions to segments of their own, and to the index. Threads may share it.

    The reader finds those that other processes of this machine have written.
    """

    def __init__(self, storage: Storage, index: ReviewIndex, reader: ReviewReader) -> None:
        self._storage = storage
        self._index = index
        self._reader = reader
        self._segments = Segments(storage, SEGMENT_BYTES, SEGMENT_SECONDS, "review")
        self._writing = threading.Lock()
        self._closed = False

    def record(self, decision: Decision) -> None:
        """Record a decision. It is in a local file when this returns.

        Raises:
            PhotoNotFound: There is no such photo.
            ReviewConflict: There are other decisions than the reviewer has seen.
            BadRequest: It names a label, and a multi-label model has answered the photo.
            OSError: It cannot be written, or the photo cannot be deleted.
        """
        with self._writing:
            self._reader.read_spool()
            with self._index.lock:
                photo = self._index.require(decision.digest)
                if decision.seen is not None and decision.seen != len(photo.reviews):
                    raise _conflict(photo)
                model = photo.answer.model
                if decision.label is not None and photo.answer.labels is not None:
                    raise BadRequest("Reviews cannot correct several labels yet. Discard or delete this photo.")
            if decision.review != "deleted":
                self._write(decision, model)
                return
        self._delete(decision.digest)  # without the lock: the storage may be slow
        with self._writing:
            self._write(decision, model)
        self._index.remove(decision.digest)

    def close_due(self) -> None:
        """Close the open segment if it is old or large enough."""
        with self._writing:
            if self._segments.due():
                self._close()

    def close(self) -> None:
        """Close the open segment, unless a decision is being written to a disk that hangs.

        A decision that is written later, because the storage took long to delete its photo, gets a segment of its own.
        """
        self._closed = True
        if not self._writing.acquire(timeout=CLOSE_SECONDS):
            logger.warning("a segment of reviews stays open; the next gateway closes it")
            return
        try:
            self._close()
        finally:
            self._writing.release()

    def _write(self, decision: Decision, model: str) -> None:
        record = Feedback(
            digest=decision.digest,
            model=model,
            verdict=VERDICTS[decision.review],
            label=decision.label,
            key=decision.reviewer,
            review=decision.review,
        )
        self._segments.append([record.line()])
        self._index.add([record.line()])
        if self._closed:
            self._close()

    def _delete(self, digest: str) -> None:
        """Delete a photo wherever it is."""
        # First in the spool: a photo there could be moved to the storage after the storage was searched.
        for path in self._storage.spool.glob(f"*~{digest}.jpg"):
            path.unlink(missing_ok=True)
        for name in self._index.names(digest):
            self._storage.delete(name)

    def _close(self) -> None:
        try:
            self._segments.close()
        except OSError as error:
            logger.warning("a segment of reviews stays open; the next gateway closes it: %s", error)


def _conflict(photo: Photo) -> ReviewConflict:
    last = photo.reviews[-1] if photo.reviews else None
    last_decision = "" if last is None else f" The last decision is {last.review!r}, by {last.key}."
    return ReviewConflict(f"Somebody else has decided about this photo meanwhile.{last_decision}")
