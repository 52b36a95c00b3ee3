"""A kept photo with its answers and reviews, and the filters that select photos."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gateway.prediction_log.records import Feedback, Prediction

MAX_REQUESTS = 20
"""Number of requests with the same photo whose feedback is found."""

Status = Literal["open", "reviewed", "conflicts", "all"]


@dataclass(slots=True)
class Photo:
    """A kept photo.

    Attributes:
        digest: SHA-256 of the uploaded file.
        newest: The newest answer; None as long as only reviews have been read.
        answers: The newest answer of each version of each model.
        requests: The last requests with this photo.
        reviews: All reviews, in order of time.
        usefulness: How useful the photo is to look at; None if it has to be calculated again.
    """

    digest: str
    newest: Prediction | None = None
    answers: dict[tuple[str, int], Prediction] = field(default_factory=dict)
    requests: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=MAX_REQUESTS))
    reviews: list[Feedback] = field(default_factory=list)
    usefulness: float | None = None

    @property
    def answer(self) -> Prediction:
        """The newest answer of a photo that has one."""
        assert self.newest is not None
        return self.newest

    @property
    def standing(self) -> dict[str | None, Feedback]:
        """The last review of each reviewer, without those that were withdrawn, in order of time.

        If the photo was deleted and then kept again, the reviews before that do not count.
        """
        last: dict[str | None, Feedback] = {}
        for review in self.reviews:
            last.pop(review.key, None)
            if review.review == "deleted" and self.newest is not None and review.time < self.newest.time:
                last.clear()
            elif review.review != "withdrawn":
                last[review.key] = review
        return last

    @property
    def status(self) -> Literal["open", "reviewed", "conflicts"]:
        """Whether it was reviewed, and whether reviewers disagree."""
        decisions = {(review.review, review.label) for review in self.standing.values()}
        return ("open", "reviewed")[len(decisions)] if len(decisions) < 2 else "conflicts"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which photos to list: by status, and by label, model, version and time of the newest answer; None for all.

    An empty label stands for unknown photos. The time `until` is not included.
    """

    status: Status = "open"
    label: str | None = None
    model: str | None = None
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def accept(self, photo: Photo) -> bool:
        """Whether a photo is listed."""
        answer = photo.answer
        return (
            (self.status == "all" or self.status == photo.status)
            and (self.label is None or self.label == (answer.label or ""))
            and (self.model is None or self.model == answer.model)
            and (self.version is None or self.version == answer.version)
            and (self.since is None or answer.time >= self.since)
            and (self.until is None or answer.time < self.until)
        )
