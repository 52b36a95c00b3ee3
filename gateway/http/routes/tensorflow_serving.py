"""TensorFlow Serving's REST API. Its clients only need another host name.

Requests and answers are those of the real server. In addition, the gateway checks shapes and dtypes against the
signature, and applies its limits, admission and deadline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import grpc
from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.dialects import TENSORFLOW_SERVING, error_objects
from gateway.http.parameters import MAX_VERSION, ModelName, time_limit
from gateway.http.request_body import compression, read_body
from gateway.http.services import call_of, record_of, services_of
from gateway.inference.predictor import TensorRequest
from gateway.pb.serving_pb2 import DataType, ModelVersionStatus, TensorInfo
from gateway.services import tensorflow_serving
from gateway.services.services import Services
from gateway.serving.backend import Selector

router = APIRouter(prefix=f"{TENSORFLOW_SERVING.prefix}/models", tags=["tensorflow serving"])

Version = Annotated[int, Path(ge=0, le=MAX_VERSION, description="Version of the model.", examples=[1])]
Label = Annotated[str, Path(max_length=128, description="Version label of the model.", examples=["stable"])]

GRPC_CODES = {code.value[0]: code.name for code in grpc.StatusCode}

ERRORS = error_objects(
    {
        400: "The request cannot be parsed, or the model rejects it.",
        404: "The model, version or label does not exist.",
        408: "The upload was too slow.",
        413: "The body is too large.",
        429: "The gateway is at its limit of concurrent work.",
        503: "The model server is unreachable, or no version is available.",
        504: "The answer was not ready before the deadline.",
    }
)
PREDICT_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "`instances` (a list of rows) or `inputs` (columns), and optionally `signature_name`. Bytes are "
        'written as `{"b64": "..."}`.',
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "signature_name": {"type": "string"},
                        "instances": {"type": "array", "minItems": 1},
                        "inputs": {},
                    },
                    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
                },
                "example": {"signature_name": "describe", "instances": [0]},
            }
        },
    }
}
PREDICT: dict[str, Any] = {"dependencies": [Depends(time_limit)], "responses": ERRORS, "openapi_extra": PREDICT_BODY}
"""Options of the routes that run a signature."""


@router.post("/{model}:predict", summary="Run a signature", **PREDICT)
async def predict_tensors(request: Request, model: ModelName) -> Response:
    """Run a signature of the newest version, or of the one that the traffic split chooses."""
    return await _predict(request, model, Selector())


@router.post("/{model}/versions/{version}:predict", summary="Run a signature of one version", **PREDICT)
async def predict_tensors_of_version(request: Request, model: ModelName, version: Version) -> Response:
    """Run a signature of this version."""
    return await _predict(request, model, Selector(version=version))


@router.post("/{model}/labels/{label}:predict", summary="Run a signature of a labelled version", **PREDICT)
async def predict_tensors_of_label(request: Request, model: ModelName, label: Label) -> Response:
    """Run a signature of the version with this label."""
    return await _predict(request, model, Selector(label=label))


@router.get("/{model}", summary="Get the states of all versions", responses=ERRORS)
async def model_status(request: Request, model: ModelName) -> Response:
    """Return all versions and their states."""
    return _status(await tensorflow_serving.versions(services_of(request), model))


@router.get("/{model}/versions/{version}", summary="Get the state of one version", responses=ERRORS)
async def version_status(request: Request, model: ModelName, version: Version) -> Response:
    """Return the state of a version."""
    versions = await tensorflow_serving.versions(services_of(request), model)
    return _status(tensorflow_serving.state_of(versions, model, version))


@router.get("/{model}/labels/{label}", summary="Get the state of a labelled version", responses=ERRORS)
async def label_status(request: Request, model: ModelName, label: Label) -> Response:
    """Return the state of the version with this label; for an unknown label, the states of all versions."""
    services = services_of(request)
    deadline = Deadline.after(services.settings.request_timeout_seconds)
    versions = await tensorflow_serving.versions(services, model)
    try:
        labelled = (await services.resolver.described(model, Selector(label=label), deadline)).version
    except errors.UnknownVersion:
        return _status(versions)
    return _status([one for one in versions if one.version == labelled])


@router.get("/{model}/metadata", summary="Get the signatures of the newest version", responses=ERRORS)
async def model_signatures(request: Request, model: ModelName) -> Response:
    """Return every signature."""
    return await _metadata(services_of(request), model, Selector())


@router.get("/{model}/versions/{version}/metadata", summary="Get the signatures of one version", responses=ERRORS)
async def version_signatures(request: Request, model: ModelName, version: Version) -> Response:
    """Return every signature of a version."""
    return await _metadata(services_of(request), model, Selector(version=version))


@router.get("/{model}/labels/{label}/metadata", summary="Get the signatures of a labelled version", responses=ERRORS)
async def label_signatures(request: Request, model: ModelName, label: Label) -> Response:
    """Return every signature of the version with this label."""
    return await _metadata(services_of(request), model, Selector(label=label))


@router.post("/{target:path}:classify", include_in_schema=False)
@router.post("/{target:path}:regress", include_in_schema=False)
async def classify_or_regress() -> Response:
    """Refuse these methods, as the real server does for a model that is exported for Predict."""
    raise errors.BadRequest("The model's signatures are of method tensorflow/serving/predict: use :predict.")


async def _predict(request: Request, model: str, selector: Selector) -> Response:
    services, record = services_of(request), record_of(request)
    with record.stage("upload"):
        upload = await read_body(request, max_bytes=services.settings.max_tensor_body_bytes)
    record.image_bytes = upload.size
    call = call_of(request)
    async with services.admit(call, 1):
        body = TensorRequest(
            "tensorflow_serving_request",
            upload.data,
            compression(request, services.settings.max_tensor_body_bytes),
            call.count_images,
        )
        answer = await tensorflow_serving.predict(services, call, model, selector, body)
        arguments = {"rows": answer.rows, "by_row": answer.request["by_row"]}
        written = await services.predictor.write(
            "tensorflow_serving_response", arguments, answer.answers, call.deadline, record
        )
    headers = {"X-Model-Version": str(answer.served.version), "Server-Timing": record.server_timing()}
    return Response(written.buffers[0], media_type="application/json", headers=headers)


def _status(versions: list[ModelVersionStatus]) -> Response:
    listed = [
        {
            "version": str(one.version),
            "state": (
                ModelVersionStatus.State.Name(one.state)
                if one.state in ModelVersionStatus.State.values()
                else "UNKNOWN"
            ),
            "status": {
                "error_code": GRPC_CODES[one.status.error_code]
                if one.status.error_code < len(GRPC_CODES)
                else "UNKNOWN",
                "error_message": "" if not one.status.error_message else tensorflow_serving.HIDDEN_REASON,
            },
        }
        for one in versions
    ]
    return _indented({"model_version_status": listed})


async def _metadata(services: Services, model: str, selector: Selector) -> Response:
    served = await tensorflow_serving.described(services, model, selector)
    signatures = {
        key: {
            "inputs": _tensors(signature.inputs),
            "outputs": _tensors(signature.outputs),
            "method_name": signature.method_name,
        }
        for key, signature in sorted(served.signatures.items())
    }
    spec = {"name": model, "signature_name": "", "version": str(served.version)}
    return _indented({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})


def _tensors(infos: Mapping[str, TensorInfo]) -> dict[str, object]:
    return {
        name: {
            "dtype": DataType.Name(info.dtype) if info.dtype in DataType.values() else int(info.dtype),
            "tensor_shape": {
                "dim": [{"size": str(dim.size), "name": ""} for dim in info.tensor_shape.dim],
                "unknown_rank": info.tensor_shape.unknown_rank,
            },
            "name": info.name,
        }
        for name, info in sorted(infos.items())
    }


def _indented(value: object) -> Response:
    return Response(json.dumps(value, indent=1), media_type="application/json")
