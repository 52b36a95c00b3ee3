"""The Open Inference Protocol (V2) of KServe, Triton and Seldon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, Response

from gateway.http.dialects import OPEN_INFERENCE, error_objects
from gateway.http.parameters import MAX_VERSION, ModelName, time_limit
from gateway.http.request_body import compression, read_body
from gateway.http.services import call_of, record_of, services_of
from gateway.inference.predictor import TensorRequest
from gateway.services import open_inference
from gateway.services.readiness import is_ready
from gateway.services.services import Services
from gateway.serving.backend import Selector
from gateway.tensors.open_inference import HEADER_LENGTH

router = APIRouter(
    prefix=OPEN_INFERENCE.prefix, tags=["open inference protocol"], generate_unique_id_function=lambda route: route.name
)

Version = Annotated[int, Path(ge=0, le=MAX_VERSION, description="Version of the model.", examples=[1])]

ERRORS = error_objects(
    {
        400: "The request does not follow the protocol, or its tensors do not match the model.",
        404: "The model or version does not exist.",
        413: "The body is too large.",
        415: "The format of an image is not accepted.",
        422: "An image is corrupt or too large.",
        429: "The gateway is at its limit of concurrent work.",
        502: "The model server failed.",
        503: "The model server is unreachable, or no version is available.",
        504: "The answer was not ready before the deadline.",
    }
)
INFER_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "The gateway decodes encoded images in a single `BYTES` input, base64 in JSON, and returns "
        "`classes` and `scores`, best first (`parameters.top_k` of them, 5 by default). Other tensors go to the "
        "signature `parameters.signature_name`, or by default to the one that classifies images.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "minItems": 1}},
                },
                "example": {
                    "parameters": {"signature_name": "describe"},
                    "inputs": [{"name": "request", "shape": [1], "datatype": "INT32", "data": [0]}],
                },
            }
        },
    }
}
INFER: dict[str, Any] = {"dependencies": [Depends(time_limit)], "responses": ERRORS, "openapi_extra": INFER_BODY}
"""Options of the routes that infer."""


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Check that the server is alive")
async def server_live() -> dict[str, bool]:
    """Answer 200 while the process runs."""
    return {"live": True}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Check that every model is ready", responses={503: ERRORS[503]})
async def server_ready(request: Request) -> Response:
    """Answer 200 if every configured model is ready."""
    ready = await is_ready(services_of(request))
    return JSONResponse({"ready": ready}, 200 if ready else 503)


@router.get("", summary="Describe the server")
async def server_metadata(request: Request) -> dict[str, object]:
    """Return the name, version and extensions of the server."""
    return {"name": open_inference.SERVER_NAME, "version": request.app.version, "extensions": ["binary_tensor_data"]}


@router.get("/models/{model}", summary="Describe a model", responses=ERRORS)
async def model_metadata(request: Request, model: ModelName) -> Response:
    """Return the inputs and outputs of the newest version."""
    return await _metadata(services_of(request), model, Selector())


@router.get("/models/{model}/versions/{version}", summary="Describe a version", responses=ERRORS)
async def version_metadata(request: Request, model: ModelName, version: Version) -> Response:
    """Return the inputs and outputs of a version."""
    return await _metadata(services_of(request), model, Selector(version=version))


@router.get("/models/{model}/ready", summary="Check that a model is ready", responses=ERRORS)
async def model_ready(request: Request, model: ModelName) -> Response:
    """Answer 200 if the model can answer requests, otherwise 503."""
    return await _ready(services_of(request), model, Selector())


@router.get("/models/{model}/versions/{version}/ready", summary="Check that a version is ready", responses=ERRORS)
async def version_ready(request: Request, model: ModelName, version: Version) -> Response:
    """Answer 200 if this version can answer requests, otherwise 503."""
    return await _ready(services_of(request), model, Selector(version=version))


@router.post("/models/{model}/infer", summary="Infer", **INFER)
async def infer(request: Request, model: ModelName) -> Response:
    """Infer with the newest version, or with the one that the traffic split chooses."""
    return await _infer(request, model, Selector())


@router.post("/models/{model}/versions/{version}/infer", summary="Infer with one version", **INFER)
async def infer_version(request: Request, model: ModelName, version: Version) -> Response:
    """Infer with this version."""
    return await _infer(request, model, Selector(version=version))


async def _infer(request: Request, model: str, selector: Selector) -> Response:
    services, record = services_of(request), record_of(request)
    with record.stage("upload"):
        upload = await read_body(request, max_bytes=services.settings.max_tensor_body_bytes)
    record.image_bytes = upload.size
    call = call_of(request)
    async with services.admit(call, 1):
        arguments = {
            "header_length": request.headers.get(HEADER_LENGTH),
            **compression(request, services.settings.max_tensor_body_bytes),
        }
        body = TensorRequest("open_inference_request", upload.data, arguments, call.count_images)
        version, written = await open_inference.infer(services, call, model, selector, body, "open_inference_response")
    headers = dict(cast(Mapping[str, str], written.header["headers"]))
    headers |= {"X-Model-Version": str(version), "Server-Timing": record.server_timing()}
    return Response(written.buffers[0], headers=headers)


async def _ready(services: Services, model: str, selector: Selector) -> Response:
    ready = await open_inference.is_ready(services, model, selector)
    return JSONResponse({"name": model, "ready": ready}, 200 if ready else 503)


async def _metadata(services: Services, model: str, selector: Selector) -> Response:
    described = await open_inference.metadata(services, model, selector)
    return JSONResponse(
        {
            "name": model,
            "versions": list(described.versions),
            "platform": open_inference.PLATFORM,
            "inputs": [asdict(one) for one in described.inputs],
            "outputs": [asdict(one) for one in described.outputs],
        }
    )
