"""Record feedback on answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.parameters import MAX_VERSION, time_limit
from gateway.http.problems import responses
from gateway.http.request_body import read_json
from gateway.http.services import deadline_of, record_of, services_of
from gateway.model_options import MODEL_NAME
from gateway.observability.request_id import REQUEST_ID
from gateway.prediction_log.prediction_log import key_name
from gateway.prediction_log.records import Digest, Feedback, Verdict
from gateway.services.services import Services
from gateway.serving.backend import Selector
from gateway.serving.contract import Contract

router = APIRouter(prefix="/api/v1", tags=["feedback"], dependencies=[Depends(time_limit)])

DESCRIPTION_SECONDS = 1.0
"""Time limit for asking for the version that answered. Feedback is taken without it, too."""

MAX_LABEL_LENGTH = 200


class FeedbackRequest(BaseModel):
    """Feedback on an answer, identified by its request ID or by the digest of its photo."""

    model_config = ConfigDict(extra="forbid")

    request_id: Annotated[
        str | None,
        Field(pattern=f"^{REQUEST_ID.pattern}$", description="The header X-Request-ID of the answer."),
    ] = None
    index: Annotated[int, Field(ge=0, description="Position of the photo in a batch; 0 for a single photo.")] = 0
    digest: Annotated[Digest | None, Field(description="SHA-256 of the photo's file, in hexadecimal.")] = None
    model: Annotated[
        str | None, Field(pattern=MODEL_NAME, description="Model that answered; by default the default model.")
    ] = None
    version: Annotated[
        int | None, Field(ge=0, le=MAX_VERSION, description="Version that answered, for the metrics.")
    ] = None
    verdict: Annotated[
        Verdict,
        Field(
            description=(
                "`right`; `wrong`, with the right label; `none` if no label of the model fits; or `withdrawn` to take "
                "back earlier feedback with the same request ID and index, or the same digest."
            )
        ),
    ]
    label: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_LABEL_LENGTH,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="The right label, if the verdict is `wrong`. It may be new to the model.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_complete(self) -> FeedbackRequest:
        if (self.request_id is None) == (self.digest is None):
            raise ValueError("give either request_id or digest")
        if (self.verdict == "wrong") != (self.label is not None):
            raise ValueError("label is required with the verdict 'wrong', and not accepted with others")
        return self


class FeedbackAnswer(BaseModel):
    """The feedback was recorded."""

    status: Literal["recorded"] = "recorded"
    new_label: bool = Field(description="Whether the label is new to the model.", examples=[False])


BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}},
    }
}


@router.post(
    "/feedback",
    summary="Report whether an answer was right",
    response_description="The feedback was recorded. Sending the same feedback again has no effect.",
    responses=responses(
        errors.NotFound,
        errors.BadRequest,
        errors.UploadTooLarge,
        errors.InvalidParameter,
        errors.Overloaded,
        errors.DeadlineExceeded,
    ),
    openapi_extra=BODY,
)
async def send_feedback(request: Request) -> FeedbackAnswer:
    """Record whether an answer was right, and if not, what the photo shows. The last feedback on a photo counts."""
    body = await read_json(request, FeedbackRequest)
    services, record = services_of(request), record_of(request)
    if services.prediction_log is None:
        raise errors.NotFound("This gateway does not keep feedback: its setting prediction_log is not set.")
    model = body.model or services.settings.default_model
    deadline = Deadline(min(deadline_of(request).at, Deadline.after(DESCRIPTION_SECONDS).at))
    contract, loaded = await _described(services, model, body.version, deadline)
    if contract is not None and contract.multi_label:
        raise errors.BadRequest(f"The model {model!r} is multi-label: there is no feedback on several labels yet.")
    new_label = body.label is not None and contract is not None and body.label not in contract.labels
    feedback = Feedback(
        request_id=body.request_id,
        index=body.index,
        digest=body.digest,
        model=model,
        verdict=body.verdict,
        label=body.label,
        new_label=new_label,
        key=key_name(record),
    )
    if not services.prediction_log.record_feedback(feedback):
        raise errors.Overloaded("The prediction log is full. Try again later.")
    counted = model if model in services.settings.served_models else "other"  # callers can name any model
    services.metrics.feedback.labels(counted, loaded if counted == model else "", body.verdict).inc()
    return FeedbackAnswer(new_label=new_label)


async def _described(
    services: Services, model: str, version: int | None, deadline: Deadline
) -> tuple[Contract | None, str]:
    """The contract of a version, and the version as text: an empty one if it is not loaded.

    Then, or without a version, it is the contract of the newest one; None if the model server does not answer in time.
    """
    with suppress(errors.GatewayError):
        if version is not None:
            with suppress(errors.NotFound):  # callers can name any number
                served = await services.resolver.described(model, Selector(version=version), deadline)
                return served.contract, str(version)
        return (await services.resolver.described(model, Selector(), deadline)).contract, ""
    return None, ""
