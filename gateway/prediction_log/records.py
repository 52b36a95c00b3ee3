"""The schema of the records in the prediction log, one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

BEST = 5
"""Number of labels that a record keeps."""

PhotoReason = Literal["uncertain", "sampled", "all"]
Verdict = Literal["right", "wrong", "none", "withdrawn"]
ReviewDecision = Literal["confirmed", "relabelled", "discarded", "deleted", "withdrawn"]

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """When the record was created, in UTC."""

    def line(self) -> bytes:
        """The record as a line of the log."""
        return self.model_dump_json().encode() + b"\n"


class Score(BaseModel):
    """One label and its score."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    label: str
    """Class name."""
    score: float
    """Score of the class, from 0 to 1."""


class Prediction(_Record):
    """The answer to one photo."""

    kind: Literal["prediction"] = "prediction"
    """Kind of the record."""
    request_id: str
    """ID of the request, as in the header X-Request-ID."""
    index: int = Field(0, ge=0)
    """Position of the photo in a batch; 0 for a single photo."""
    model: str
    """Name of the model."""
    version: int
    """Version that answered."""
    label: str | None
    """Label in the answer; null if the photo is unknown to the model."""
    labels: tuple[str, ...] | None = None
    """All labels in the answer of a multi-label model, best first; null for other models."""
    margin: float | None = None
    """How far the labels of a multi-label model are from a change, from 0 to 1: the smallest distance between a score
    and its threshold, divided by the largest distance that is possible in this direction; null for other models."""
    looks_like: str | None = None
    """What an unknown photo shows, if the model has a name for it."""
    scores: tuple[Score, ...]
    """The best labels and their scores, best first, at most five."""
    digest: Digest
    """SHA-256 of the uploaded file, in hexadecimal."""
    bytes: int = Field(ge=0)
    """Size of the uploaded file, in bytes."""
    milliseconds: float = Field(ge=0)
    """Time for decoding and for the model, including waiting, in milliseconds."""
    key: str | None = None
    """Name of the API key; null if no keys are configured. The address of the caller is never kept."""
    routing_key: str | None = None
    """Value of the header X-Routing-Key, if the request had one."""
    photo: PhotoReason | None = None
    """Why the photo was selected to be kept; null if it was not selected. The photo is in `photos/DAY/DIGEST.jpg`,
    unless the log was overloaded and lost it."""


class Feedback(_Record):
    """Feedback on an answer."""

    kind: Literal["feedback"] = "feedback"
    """Kind of the record."""
    request_id: str | None = None
    """ID of the request; null if `digest` is given instead."""
    index: int = Field(0, ge=0)
    """Position of the photo in a batch; 0 for a single photo."""
    digest: Digest | None = None
    """SHA-256 of the uploaded file, in hexadecimal; null if `request_id` is given instead."""
    model: str
    """Name of the model that answered."""
    verdict: Verdict
    """`right`; `wrong`; `none` if no label of the model fits; or `withdrawn`, which takes back earlier feedback with
    the same request ID and index, or with the same digest."""
    label: str | None = None
    """The right label, if the verdict is `wrong` or a reviewer confirmed the label."""
    new_label: bool = False
    """Whether the label is new to the model."""
    key: str | None = None
    """Name of the API key; null if no keys are configured."""
    review: ReviewDecision | None = None
    """Decision of the reviewer whose key is named in `key`: `confirmed` (verdict `right`), `relabelled` (`wrong`),
    `discarded` or `deleted` (`none`), or `withdrawn`. It counts more than other feedback. Null if the feedback is not
    from a review."""


class Shadow(_Record):
    """The answer of a shadow to a copy of a photo; the answer to the caller is another record."""

    kind: Literal["shadow"] = "shadow"
    """Kind of the record."""
    request_id: str
    """ID of the request that was copied."""
    index: int = Field(0, ge=0)
    """Position of the photo in a batch; 0 for a single photo."""
    model: str
    """Name of the shadow's model."""
    version: int
    """Version of the shadow."""
    label: str | None
    """Label in the answer; null if the photo is unknown to the shadow."""
    labels: tuple[str, ...] | None = None
    """All labels in the answer of a multi-label shadow, best first; null for others."""
    score: float
    """Score of the best label, from 0 to 1."""


def margin(scores: Sequence[float]) -> float:
    """How far an answer with one label is from another one, 0 to 1: the difference of its two best scores."""
    return scores[0] - scores[1] if len(scores) > 1 else 1.0


Record = Annotated[Prediction | Feedback | Shadow, Field(discriminator="kind")]

RECORD: TypeAdapter[Prediction | Feedback | Shadow] = TypeAdapter(Record)
"""Reads, validates and describes one line of the log."""
