"""The interface that Hugging Face's inference clients call for image classification."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.classification import classified
from gateway.http.dialects import HUGGING_FACE, error_objects
from gateway.http.image_body import admitted, read_image
from gateway.http.parameters import ModelName, SelectorDep, time_limit
from gateway.http.routes.image_form import SINGLE_BODY, answer_headers
from gateway.http.schemas import Prediction
from gateway.http.services import services_of
from gateway.http.upload import Upload
from gateway.services.services import Call, Services
from gateway.tensors.json_values import HEAD_BYTES, is_json_object

router = APIRouter(prefix=HUGGING_FACE.prefix, tags=["hugging face"], dependencies=[Depends(time_limit)])

ERRORS = error_objects(
    {
        400: "The body or a parameter is not valid.",
        404: "The model or version does not exist.",
        408: "The upload was too slow.",
        413: "The body is too large.",
        415: "The format of the image is not accepted.",
        422: "The image is corrupt or too large, its URL cannot be fetched, or a query parameter is not valid.",
        429: "The gateway is at its limit of concurrent work.",
        500: "The gateway failed.",
        502: "The model server failed, or the model does not classify images.",
        503: "The model server is unreachable, or no version is available.",
        504: "The answer was not ready before the deadline.",
    }
)


@router.post(
    "/models/{model}",
    summary="Classify an image for Hugging Face's clients",
    response_model=list[Prediction],
    response_description="The best labels and their scores, best first.",
    responses=ERRORS,
    openapi_extra=SINGLE_BODY,
)
async def image_classification(request: Request, model: ModelName, selector: SelectorDep) -> Response:
    """Classify one image. `{"inputs": "<base64>", "parameters": {"top_k": 3}}` sets the number of labels."""
    upload = await read_image(request)
    services, top_k = services_of(request), None
    async with admitted(request, [upload]) as call:
        if not upload.fetched and is_json_object(upload.head(HEAD_BYTES)):
            upload, top_k = await _from_json(services, call, upload)
            call.record.image_bytes = upload.size
        answer = await classified(services, call, model, selector, [upload], top_k)
    [result] = answer.results
    if isinstance(result, errors.GatewayError):
        raise result
    body = to_json([{"label": label, "score": score} for label, score in result.predictions])
    return Response(body, headers=answer_headers(request, answer.contract), media_type="application/json")


async def _from_json(services: Services, call: Call, upload: Upload) -> tuple[Upload, int | None]:
    """The image and the number of labels in a JSON body."""
    with call.record.stage("decode"):
        read = await services.tensor_workers.run(
            "hugging_face_request", {}, [upload.data], call.record.turn, call.deadline
        )
    top_k = read.header["top_k"]
    assert top_k is None or isinstance(top_k, int)
    if top_k is not None and top_k > services.settings.max_top_k:
        raise errors.BadRequest(f"top_k must be at most {services.settings.max_top_k}.")
    image = Upload(upload.filename)
    image.append(read.buffers[0])
    return image, top_k
