"""The interface of the review page, which is not part of the public API: list kept photos, and decide about them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json
from starlette.responses import Response

from gateway import errors
from gateway.http.request_body import read_body
from gateway.http.routes.feedback import MAX_BODY_BYTES, MAX_LABEL_LENGTH
from gateway.http.services import deadline_of, record_of, services_of
from gateway.model_options import MODEL_NAME
from gateway.prediction_log.prediction_log import key_name
from gateway.prediction_log.records import Digest, Feedback, ReviewDecision
from gateway.prediction_log.review import Review, Reviewed
from gateway.prediction_log.review_decisions import Decision
from gateway.prediction_log.review_index import Reason
from gateway.prediction_log.review_photo import Filters, Status
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1/review", include_in_schema=False)

MAX_PAGE = 200
"""Maximum number of photos in a page."""


class SaidView(BaseModel):
    """Feedback or a review."""

    time: datetime
    key: str | None
    verdict: str
    label: str | None
    review: ReviewDecision | None


class AnswerView(BaseModel):
    """The answer of one version."""

    model: str
    version: int
    label: str | None
    labels: list[str] | None
    scores: list[tuple[str, float]]


class PhotoView(BaseModel):
    """A kept photo.

    Attributes:
        answers: The newest answer of each version, the newest first.
        shadows: The last answer of each shadow.
        decision: The review that counts.
        decisions: Number of reviews; a decision names it, so that nobody overwrites what they have not seen.
    """

    digest: str
    time: datetime
    looks_like: str | None
    answers: list[AnswerView]
    shadows: list[AnswerView]
    reasons: list[Reason]
    feedback: list[SaidView]
    status: Literal["open", "reviewed", "conflicts"]
    reviews: list[SaidView]
    decision: SaidView | None
    decisions: int


class VersionCount(BaseModel):
    """Number of photos of a version."""

    model: str
    version: int
    photos: int


class PageView(BaseModel):
    """A page of photos.

    Attributes:
        after: The parameter `after` of the next page; null after the last one.
        counts: Number of photos by status.
        labels: Number of photos by label; an empty text stands for unknown photos.
    """

    photos: list[PhotoView]
    after: str | None
    counts: Mapping[str, int]
    labels: Mapping[str, int]
    versions: list[VersionCount]


class DecisionRequest(BaseModel):
    """A decision about a photo."""

    model_config = ConfigDict(extra="forbid")

    decision: ReviewDecision
    label: Annotated[str | None, Field(min_length=1, max_length=MAX_LABEL_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")] = (
        None
    )
    seen: Annotated[int | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _is_complete(self) -> DecisionRequest:
        if (self.decision in ("confirmed", "relabelled")) != (self.label is not None):
            raise ValueError("label must be given if, and only if, the decision is 'confirmed' or 'relabelled'")
        return self


async def read_decision(request: Request) -> DecisionRequest:
    """The body of a request.

    Raises:
        UploadTooLarge: It has more than `MAX_BODY_BYTES`.
        RequestValidationError: It is not what `DecisionRequest` describes.
    """
    body = await read_body(request, max_bytes=MAX_BODY_BYTES)
    try:
        return DecisionRequest.model_validate_json(b"".join(body.data))
    except ValidationError as error:
        wrong = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_context=False)]
        raise RequestValidationError(wrong) from None


def review_of(request: Request) -> Review:
    """The review of the app.

    Raises:
        NotFound: It is off.
    """
    review = services_of(request).review
    if review is None:
        raise errors.NotFound("This gateway has no review: its settings prediction_log and review_keys are not set.")
    return review


ReviewDep = Annotated[Review, Depends(review_of)]
DigestPath = Annotated[Digest, Path()]


@router.get("/photos")
async def list_photos(
    review: ReviewDep,
    status: Status = "open",
    label: Annotated[str | None, Query(max_length=MAX_LABEL_LENGTH)] = None,
    model: Annotated[str | None, Query(max_length=128)] = None,
    version: int | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    after: Annotated[str | None, Query(pattern=r"^-?\d+(\.\d+)?~[0-9a-f]{64}$", max_length=90)] = None,
    number: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 60,
) -> Response:
    """A page of kept photos, the most useful ones first."""
    filters = Filters(status, label, model, version, since, until)
    place: tuple[float, str] | None = None
    if after is not None:
        usefulness, _, digest = after.partition("~")
        place = float(usefulness), digest
    found, more, counts = await review.page(filters, place, number, lambda one: (_view(one), one.place))
    page = PageView(
        photos=[view for view, _ in found],
        after=f"{found[-1][1][0]:.6f}~{found[-1][1][1]}" if more else None,  # never 1e-05
        counts=counts.status,
        labels=counts.labels,
        versions=[VersionCount(model=one[0], version=one[1], photos=photos) for one, photos in counts.versions.items()],
    )
    return _json(page)


@router.get("/labels")
async def list_labels(request: Request, _: ReviewDep, model: Annotated[str, Query(pattern=MODEL_NAME)]) -> Response:
    """The labels of a model; none if it cannot be asked for them."""
    labels: list[str] = []
    with suppress(errors.GatewayError):  # labels can be typed
        served = await services_of(request).resolver.described(model, Selector(), deadline_of(request))
        labels = list(served.contract.labels) if served.contract is not None else []
    return Response(to_json({"labels": labels}), media_type="application/json")


@router.get("/photos/{digest}")
async def get_photo(review: ReviewDep, digest: DigestPath) -> Response:
    """One photo."""
    return _json(await review.photo(digest, _view))


@router.get("/photos/{digest}/image")
async def get_image(review: ReviewDep, digest: DigestPath) -> Response:
    """The photo itself, as it was kept."""
    return Response(await review.image(digest), media_type="image/jpeg")


@router.post("/photos/{digest}/decision")
async def decide(
    request: Request,
    review: ReviewDep,
    digest: DigestPath,
    wanted: Annotated[DecisionRequest, Depends(read_decision)],
) -> Response:
    """Record a decision about a photo, or delete it."""
    decision = Decision(digest, wanted.decision, wanted.label, wanted.seen, key_name(record_of(request)))
    view = await review.decide(decision, _view)
    return Response('{"status": "deleted"}', media_type="application/json") if view is None else _json(view)


def _view(reviewed: Reviewed) -> PhotoView:
    photo = reviewed.photo
    answers = sorted(photo.answers.values(), key=lambda answer: answer.time, reverse=True)
    reviews = [_said(one) for one in photo.standing.values()]
    return PhotoView(
        digest=photo.digest,
        time=answers[0].time,
        looks_like=answers[0].looks_like,
        answers=[
            AnswerView(
                model=one.model,
                version=one.version,
                label=one.label,
                labels=None if one.labels is None else list(one.labels),
                scores=[(score.label, score.score) for score in one.scores],
            )
            for one in answers
        ],
        shadows=[
            AnswerView(
                model=one.model,
                version=one.version,
                label=one.label,
                labels=None if one.labels is None else list(one.labels),
                scores=[],
            )
            for one in {(one.model, one.version): one for one in reviewed.shadows}.values()
        ],
        reasons=reviewed.reasons,
        feedback=[_said(one) for one in reviewed.feedback],
        status=photo.status,
        reviews=reviews,
        decision=reviews[-1] if reviews else None,
        decisions=len(photo.reviews),
    )


def _said(said: Feedback) -> SaidView:
    return SaidView(time=said.time, key=said.key, verdict=said.verdict, label=said.label, review=said.review)


def _json(view: BaseModel) -> Response:
    return Response(view.model_dump_json(), media_type="application/json")
