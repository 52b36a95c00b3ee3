"""Take what people say about answers."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway import errors
from gateway.http.middleware.request_id import REQUEST_ID
from gateway.http.parameters import time_limit
from gateway.http.problems import responses
from gateway.http.services import deadline_of, record_of, services_of
from gateway.model_options import MODEL_NAME
from gateway.prediction_log.prediction_log import key_name
from gateway.prediction_log.records import Digest, Feedback, Verdict
from gateway.serving.backend import Selector

router = APIRouter(prefix="/api/v1", tags=["feedback"], dependencies=[Depends(time_limit)])

MAX_LABEL_LENGTH = 200
MAX_BODY_BYTES = 8192


class FeedbackRequest(BaseModel):
    """What somebody says about an answer, which its request ID or the digest of its photo names."""

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
            description="The right label, if the verdict is `wrong`. The model need not know it.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_complete(self) -> FeedbackRequest:
        if (self.request_id is None) == (self.digest is None):
            raise ValueError("give either request_id or digest")
        if (self.verdict == "wrong") != (self.label is not None):
            raise ValueError("label must be given if, and only if, the verdict is 'wrong'")
        return self


class FeedbackAnswer(BaseModel):
    """The feedback was recorded."""

    status: Literal["recorded"] = "recorded"
    new_label: bool = Field(description="Whether the model does not know the label yet.", examples=[False])


async def read_feedback(request: Request) -> FeedbackRequest:
    """The body of a request.

    Raises:
        UploadTooLarge: It has more than `MAX_BODY_BYTES`.
        RequestValidationError: It is not what `FeedbackRequest` describes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise errors.UploadTooLarge(f"Feedback may have up to {MAX_BODY_BYTES} bytes.")
    try:
        return FeedbackRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        wrong = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_context=False)]
        raise RequestValidationError(wrong) from None


FeedbackDep = Annotated[FeedbackRequest, Depends(read_feedback)]

BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}},
    }
}


@router.post(
    "/feedback",
    summary="Say whether an answer was right",
    response_description="The feedback was recorded. Sending the same again changes nothing.",
    responses=responses(
        errors.NotFound,
        errors.BadRequest,
        errors.UploadTooLarge,
        errors.InvalidParameter,
        errors.UnsupportedModel,
        errors.ModelServerUnavailable,
        errors.NotReady,
        errors.Overloaded,
        errors.DeadlineExceeded,
    ),
    openapi_extra=BODY,
)
async def send_feedback(request: Request, said: FeedbackDep) -> FeedbackAnswer:
    """Record whether an answer was right, and if not, what the photo shows. The last feedback on a photo counts."""
    services, record = services_of(request), record_of(request)
    if services.prediction_log is None:
        raise errors.NotFound("This gateway does not keep feedback: its setting prediction_log is not set.")
    model = said.model or services.settings.default_model
    contract = (await services.resolver.served(model, Selector(), deadline_of(request))).checked_contract()
    record.answered_by(model, contract.version)
    new_label = said.label is not None and said.label not in contract.labels
    feedback = Feedback(
        request_id=said.request_id,
        index=said.index,
        digest=said.digest,
        model=model,
        verdict=said.verdict,
        label=said.label,
        new_label=new_label,
        key=key_name(record),
    )
    if not services.prediction_log.said(feedback):
        raise errors.Overloaded("The prediction log is full. Try again later.")
    services.metrics.feedback.labels(model, said.verdict).inc()
    return FeedbackAnswer(new_label=new_label)
