"""TensorFlow Serving's REST API, so that its clients only change the host.

The requests and answers are those of the real server; beyond it, shapes and dtypes are checked against the signature,
and the gateway's limits, admission and deadline hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import grpc
from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gateway import errors
from gateway.deadline import Deadline
from gateway.http.dialects import TENSORFLOW_SERVING, error_objects
from gateway.http.middleware.access import count_images
from gateway.http.multipart import compression, read_body
from gateway.http.parameters import MAX_VERSION, ModelName, time_limit
from gateway.http.services import RecordDep, Services, ServicesDep, deadline_of
from gateway.inference.predictor import TensorRequest
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import DataType, ModelVersionStatus, TensorInfo
from gateway.serving.backend import Selector

TIMED = [Depends(time_limit)]
router = APIRouter(prefix=f"{TENSORFLOW_SERVING.prefix}/models", tags=["tensorflow serving"])

Version = Annotated[int, Path(ge=0, le=MAX_VERSION, description="Version of the model.", examples=[1])]
Label = Annotated[str, Path(max_length=128, description="Version label of the model.", examples=["stable"])]

GRPC_CODES = {code.value[0]: code.name for code in grpc.StatusCode}

ERRORS = error_objects(
    {
        400: "The request cannot be read, or the model refuses it.",
        404: "There is no such model, version or label.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        429: "The gateway has all the work that it takes.",
        503: "The model server cannot be reached, or no version is available.",
        504: "The answer did not come within the deadline.",
    }
)
PREDICT: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "`instances` (a list of rows) or `inputs` (columns), and `signature_name` where it is not "
        'the default one. Bytes are written `{"b64": "..."}`.',
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


@router.post("/{model}:predict", dependencies=TIMED, summary="Run a signature", responses=ERRORS, openapi_extra=PREDICT)
async def predict_tensors(request: Request, services: ServicesDep, record: RecordDep, model: ModelName) -> Response:
    """Run a signature of the newest version, or of the one that the traffic split chooses."""
    return await _predict(request, services, record, model, Selector())


@router.post(
    "/{model}/versions/{version}:predict",
    dependencies=TIMED,
    summary="Run a signature of one version",
    responses=ERRORS,
    openapi_extra=PREDICT,
)
async def predict_tensors_of_version(
    request: Request, services: ServicesDep, record: RecordDep, model: ModelName, version: Version
) -> Response:
    """Run a signature of this version."""
    return await _predict(request, services, record, model, Selector(version=version))


@router.post(
    "/{model}/labels/{label}:predict",
    dependencies=TIMED,
    summary="Run a signature of a labelled version",
    responses=ERRORS,
    openapi_extra=PREDICT,
)
async def predict_tensors_of_label(
    request: Request, services: ServicesDep, record: RecordDep, model: ModelName, label: Label
) -> Response:
    """Run a signature of the version with this label."""
    return await _predict(request, services, record, model, Selector(label=label))


@router.get("/{model}", summary="Get the states of all versions", responses=ERRORS)
async def model_status(services: ServicesDep, model: ModelName) -> Response:
    """Return all versions and their states."""
    return _status(await _versions(services, model))


@router.get("/{model}/versions/{version}", summary="Get the state of one version", responses=ERRORS)
async def version_status(services: ServicesDep, model: ModelName, version: Version) -> Response:
    """Return the state of a version."""
    found = [one for one in await _versions(services, model) if one.version == version]
    if not found:
        raise errors.UnknownVersion(f"Could not find version {version} of model {model}")
    return _status(found)


@router.get("/{model}/labels/{label}", summary="Get the state of a labelled version", responses=ERRORS)
async def label_status(services: ServicesDep, model: ModelName, label: Label) -> Response:
    """Return the state of the version with this label; for an unknown label, the states of all versions."""
    deadline = Deadline.after(services.settings.request_timeout_seconds)
    versions = await _versions(services, model)
    try:
        labelled = (await services.resolver.described(model, Selector(label=label), deadline)).version
    except errors.UnknownVersion:
        return _status(versions)
    return _status([one for one in versions if one.version == labelled])


@router.get("/{model}/metadata", summary="Get the signatures of the newest version", responses=ERRORS)
async def model_signatures(services: ServicesDep, model: ModelName) -> Response:
    """Return every signature."""
    return await _metadata(services, model, Selector())


@router.get("/{model}/versions/{version}/metadata", summary="Get the signatures of one version", responses=ERRORS)
async def version_signatures(services: ServicesDep, model: ModelName, version: Version) -> Response:
    """Return every signature of a version."""
    return await _metadata(services, model, Selector(version=version))


@router.get("/{model}/labels/{label}/metadata", summary="Get the signatures of a labelled version", responses=ERRORS)
async def label_signatures(services: ServicesDep, model: ModelName, label: Label) -> Response:
    """Return every signature of the version with this label."""
    return await _metadata(services, model, Selector(label=label))


@router.post("/{target:path}:classify", include_in_schema=False)
@router.post("/{target:path}:regress", include_in_schema=False)
async def classify_or_regress() -> Response:
    """Refuse what the real server refuses as well for a model that is exported for Predict."""
    raise errors.BadRequest("The model's signatures are of method tensorflow/serving/predict: use :predict.")


async def _predict(
    request: Request, services: Services, record: RequestRecord, model: str, selector: Selector
) -> Response:
    with record.stage("upload"):
        upload = await read_body(request, max_bytes=services.settings.max_tensor_body_bytes)
    record.image_bytes = upload.size
    deadline = deadline_of(request)
    async with services.admit(request, 1):
        with _real_words(model, selector):
            selector = await services.route(request, model, selector, deadline)
        body = TensorRequest(
            "tensorflow_serving_request",
            upload.data,
            compression(request, services.settings.max_tensor_body_bytes),
            partial(count_images, request.scope),
        )
        with _real_words(model, selector):
            answer = await services.predictor.predict(model, selector, body, deadline, record)
        services.admission.hold(record.turn, sum(map(len, answer.answers)))
        arguments = {"rows": answer.rows, "by_row": answer.request["by_row"]}
        written = await services.predictor.write(
            "tensorflow_serving_response", arguments, answer.answers, deadline, record
        )
    headers = {"X-Model-Version": str(answer.served.version), "Server-Timing": record.server_timing()}
    return Response(written.buffers[0], media_type="application/json", headers=headers)


@contextmanager
def _real_words(model: str, selector: Selector) -> Iterator[None]:
    """Say what is not served in the words of the real server, by which clients tell one case from another."""
    try:
        yield
    except (errors.UnknownModel, errors.UnknownVersion) as error:
        if selector.label is not None:
            raise errors.BadRequest(f"Unrecognized servable version label: {selector.label}") from error
        which = f"Latest({model})" if selector.version is None else f"Specific({model}, {selector.version})"
        raise type(error)(f"Servable not found for request: {which}") from error


async def _versions(services: Services, model: str) -> list[ModelVersionStatus]:
    try:
        return await services.resolver.versions(model, Deadline.after(services.settings.request_timeout_seconds))
    except errors.UnknownModel:
        raise errors.UnknownModel(f"Could not find any versions of model {model}") from None


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
                # Why a version failed to load names files of the model server: it is in that server's log.
                "error_message": "" if not one.status.error_message else "See the log of the model server.",
            },
        }
        for one in versions
    ]
    return _indented({"model_version_status": listed})


async def _metadata(services: Services, model: str, selector: Selector) -> Response:
    deadline = Deadline.after(services.settings.request_timeout_seconds)
    await _versions(services, model)  # what is known of a version outlives its server
    with _real_words(model, selector):
        served = await services.resolver.described(model, selector, deadline)
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
