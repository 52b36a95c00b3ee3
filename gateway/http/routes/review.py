"""The interface of the review page, which is not part of the public API: list kept photos, and decide about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json
from starlette.responses import Response

from gateway import errors
from gateway.http.request_body import read_json
from gateway.http.routes.feedback import MAX_LABEL_LENGTH
from gateway.http.services import deadline_of, record_of, services_of
from gateway.model_options import MODEL_NAME
from gateway.prediction_log.prediction_log import key_name
from gateway.prediction_log.records import Digest, Feedback, Prediction, ReviewDecision, Shadow
from gateway.prediction_log.review import Review, Reviewed
from gateway.prediction_log.review_decisions import Decision
from gateway.prediction_log.review_index import Counts
from gateway.prediction_log.review_photo import Filters, Status
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1/review", include_in_schema=False)

MAX_PAGE = 200
"""Maximum number of photos in a page."""


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
            raise ValueError(
                "label is required with the decisions 'confirmed' and 'relabelled', and not accepted with others"
            )
        return self


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
    return await asyncio.to_thread(_page, *await review.page(filters, place, number))


@router.get("/labels")
async def list_labels(request: Request, _: ReviewDep, model: Annotated[str, Query(pattern=MODEL_NAME)]) -> Response:
    """The labels of a model; none if it cannot be asked for them."""
    labels: list[str] = []
    with suppress(errors.GatewayError):  # labels can be typed
        served = await services_of(request).resolver.described(model, Selector(), deadline_of(request))
        labels = list(served.contract.labels) if served.contract is not None else []
    return _json({"labels": labels})


@router.get("/photos/{digest}")
async def get_photo(review: ReviewDep, digest: DigestPath) -> Response:
    """One photo."""
    return _json(_photo(await review.photo(digest)))


@router.get("/photos/{digest}/image")
async def get_image(review: ReviewDep, digest: DigestPath) -> Response:
    """The photo itself, as it was kept."""
    return Response(await review.image(digest), media_type="image/jpeg")


@router.post("/photos/{digest}/decision")
async def decide(request: Request, review: ReviewDep, digest: DigestPath) -> Response:
    """Record a decision about a photo, or delete it."""
    body = await read_json(request, DecisionRequest)
    decision = Decision(digest, body.decision, body.label, body.seen, key_name(record_of(request)))
    photo = await review.decide(decision)
    return _json({"status": "deleted"} if photo is None else _photo(photo))


def _page(photos: Sequence[Reviewed], more: bool, counts: Counts) -> Response:
    """A page with up to `MAX_PAGE` photos: too much work for the event loop."""
    versions = [{"model": one[0], "version": one[1], "photos": count} for one, count in counts.versions.items()]
    return _json(
        {
            "photos": [_photo(one) for one in photos],
            "after": _text(photos[-1].place) if more else None,
            "counts": counts.status,
            "labels": counts.labels,  # an empty text stands for unknown photos
            "versions": versions,
        }
    )


def _text(place: tuple[float, str]) -> str:
    usefulness, digest = place
    return f"{usefulness:.6f}~{digest}"  # never 1e-05


def _photo(reviewed: Reviewed) -> dict[str, object]:
    """A photo as the page gets it: the newest answer of each version, newest first, and the last one of each shadow.

    A decision names the number of decisions that its reviewer has seen, so that nobody overwrites what they have not
    seen.
    """
    photo = reviewed.photo
    answers = sorted(photo.answers.values(), key=lambda answer: answer.time, reverse=True)
    reviews = [_feedback(one) for one in photo.standing.values()]
    return {
        "digest": photo.digest,
        "time": answers[0].time,
        "looks_like": answers[0].looks_like,
        "answers": [_answer(one, [(score.label, score.score) for score in one.scores]) for one in answers],
        "shadows": [_answer(one, []) for one in {(one.model, one.version): one for one in reviewed.shadows}.values()],
        "reasons": reviewed.reasons,
        "feedback": [_feedback(one) for one in reviewed.feedback],
        "status": photo.status,
        "reviews": reviews,
        "decision": reviews[-1] if reviews else None,
        "decisions": len(photo.reviews),
    }


def _answer(answer: Prediction | Shadow, scores: list[tuple[str, float]]) -> dict[str, object]:
    return answer.model_dump(include={"model", "version", "label", "labels"}) | {"scores": scores}


def _feedback(feedback: Feedback) -> dict[str, object]:
    return feedback.model_dump(include={"time", "key", "verdict", "label", "review"})


def _json(value: Mapping[str, object]) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), media_type="application/json")
