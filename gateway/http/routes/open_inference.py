"""The Open Inference Protocol (V2) of KServe, Triton and Seldon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, Response

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.dialects import OPEN_INFERENCE, error_objects
from gateway.http.middleware.access import count_images
from gateway.http.parameters import MAX_VERSION, ModelName, time_limit
from gateway.http.request_body import compression, read_body
from gateway.http.routes import health
from gateway.http.services import Services, deadline_of, record_of, services_of
from gateway.inference.classifier import Classification
from gateway.inference.predictor import Predicted, TensorRequest
from gateway.inference.readiness import PROBE_SECONDS
from gateway.inference.scores import Ranked
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import ModelVersionStatus, TensorInfo
from gateway.serving.backend import Selector
from gateway.serving.contract import DEFAULT_SIGNATURE
from gateway.serving.version_lookup import ServedVersion, available_versions
from gateway.tensors.open_inference import HEADER_LENGTH
from gateway.tensors.open_inference_data import DATATYPES

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
    try:
        await health.ready_versions(services_of(request), details=False)
    except errors.NotReady:
        return JSONResponse({"ready": False}, 503)
    return JSONResponse({"ready": True})


@router.get("", summary="Describe the server")
async def server_metadata(request: Request) -> dict[str, object]:
    """Return the name, version and extensions of the server."""
    return {"name": "breed-gateway", "version": request.app.version, "extensions": ["binary_tensor_data"]}


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
    deadline = deadline_of(request)
    async with services.admit(request, 1):
        selector = await services.route(request, model, selector, deadline)
        served = await services.resolver.served(model, selector, deadline)
        body = TensorRequest(
            "open_inference_request",
            upload.data,
            {
                "header_length": request.headers.get(HEADER_LENGTH),
                "default_signature": _default_signature(served),
                **compression(request, services.settings.max_tensor_body_bytes),
                "max_images": services.settings.max_batch_images if _takes_images(served) else 0,
            },
            partial(count_images, request.scope),
        )
        answer = await services.predictor.predict(model, selector, body, deadline, record)
        services.admission.hold(record.turn, sum(map(len, answer.answers)))
        arguments: dict[str, object] = {"rows": answer.rows, "head": answer.request["head"], "model": model}
        version = answer.served.version
        if answer.images is not None:
            classified = await _classified(request, services, record, answer, answer.images, model, selector, deadline)
            version = classified.contract.version
            arguments |= _classes(classified)
        arguments["version"] = version
        written = await services.predictor.write("open_inference_response", arguments, answer.answers, deadline, record)
    headers = dict(cast(Mapping[str, str], written.header["headers"]))
    headers |= {"X-Model-Version": str(version), "Server-Timing": record.server_timing()}
    return Response(written.buffers[0], headers=headers)


async def _classified(
    request: Request,
    services: Services,
    record: RequestRecord,
    answer: Predicted,
    images: Sequence[bytes],
    model: str,
    selector: Selector,
    deadline: Deadline,
) -> Classification:
    top_k = _top_k(services, answer.request["head"]["parameters"].get("top_k"))
    uploads = [[image] for image in images]
    async with services.admit(request, len(uploads) - 1):
        classified = await services.classifier.classify(model, selector, uploads, top_k, deadline, record)
    services.shadows.copy(classified, uploads, record)
    return classified


def _classes(classified: Classification) -> dict[str, object]:
    """Labels and scores of each image, best first. Raises the error of the first image that failed."""
    ranked = []
    for result in classified.results:
        if not isinstance(result, Ranked):
            raise result
        ranked.append(result.predictions)
    return {
        "classes": [[label for label, _ in one] for one in ranked],
        "scores": [[score for _, score in one] for one in ranked],
    }


def _top_k(services: Services, requested: object) -> int:
    if requested is None:
        return services.settings.default_top_k
    limit = services.settings.max_top_k
    if not isinstance(requested, int) or isinstance(requested, bool) or not 1 <= requested <= limit:
        raise errors.BadRequest(f"The parameter top_k must be an integer from 1 to {limit}.")
    return requested


def _takes_images(served: ServedVersion) -> bool:
    return served.contract is not None and served.contract.certain_image


def _default_signature(served: ServedVersion) -> str:
    return served.contract.signature if served.contract is not None else DEFAULT_SIGNATURE


async def _ready(services: Services, model: str, selector: Selector) -> Response:
    # Without the cache, which keeps a version after its server is gone.
    try:
        versions = await services.resolver.versions(model, Deadline.after(PROBE_SECONDS))
    except (errors.ModelServerUnavailable, errors.DeadlineExceeded):
        versions = []
    selected = [one for one in versions if selector.version in (None, one.version)]
    if versions and not selected:
        raise errors.UnknownVersion(f"The model {model!r} has no {selector}.")
    ready = any(one.state == ModelVersionStatus.State.AVAILABLE for one in selected)
    return JSONResponse({"name": model, "ready": ready}, 200 if ready else 503)


async def _metadata(services: Services, model: str, selector: Selector) -> Response:
    deadline = Deadline.after(services.settings.request_timeout_seconds)
    served = await services.resolver.described(model, selector, deadline)
    available = sorted(available_versions(await services.resolver.versions(model, deadline)))
    if _takes_images(served):
        inputs: list[dict[str, object]] = [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}]
        outputs: list[dict[str, object]] = [
            {"name": "classes", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, -1]},
        ]
    else:
        key = _default_signature(served)
        signature = served.signatures.get(key)
        if signature is None:
            raise errors.SignatureMissing(f"The model {model!r} has no signature {key!r}.")
        inputs, outputs = _tensors(signature.inputs), _tensors(signature.outputs)
    return JSONResponse(
        {
            "name": model,
            "versions": [str(number) for number in available],
            "platform": "tensorflow_savedmodel",
            "inputs": inputs,
            "outputs": outputs,
        }
    )


def _tensors(infos: Mapping[str, TensorInfo]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "datatype": DATATYPES.get(info.dtype, "UNKNOWN"),
            "shape": [dim.size for dim in info.tensor_shape.dim],
        }
        for name, info in sorted(infos.items())
    ]
