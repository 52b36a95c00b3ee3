"""Shared by routes that take images: the description of bodies and errors, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fastapi import Request, Response
from pydantic_core import to_json

from gateway import errors
from gateway.http.multipart import SINGLE_FIELDS
from gateway.http.problems import problem, responses
from gateway.http.services import record_of
from gateway.http.upload import Upload
from gateway.inference.scores import Ranked
from gateway.serving.contract import Contract

LabelField = Literal["breed", "label"]

SHARED_ERRORS = (
    errors.BadRequest,
    errors.UnknownModel,
    errors.UnknownVersion,
    errors.UploadTimeout,
    errors.UploadTooLarge,
    errors.UnsupportedRequest,
    errors.InvalidParameter,
    errors.Overloaded,
    errors.InternalError,
    errors.UnsupportedModel,
    errors.ModelServerFailed,
    errors.ModelServerUnavailable,
    errors.NotReady,
    errors.DeadlineExceeded,
)
IMAGE_ERRORS = (errors.UnsupportedImage, errors.ImageNotFetched, errors.InvalidImage, errors.ImageTooLarge)
SINGLE_RESPONSES = responses(*SHARED_ERRORS, *IMAGE_ERRORS)
BATCH_RESPONSES = responses(*SHARED_ERRORS)

_BINARY = {"type": "string", "format": "binary"}
SINGLE_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": (
            f"A form with one file named {', '.join(f'`{name}`' for name in SINGLE_FIELDS)}, the image itself, or JSON "
            "with the image in base64. Accepted are JPEG, PNG, GIF, BMP, WebP and, if the gateway has the extra "
            "`heic`, HEIC. Of an animation, the first frame is used."
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [SINGLE_FIELDS[0]],
                    "properties": {SINGLE_FIELDS[0]: {**_BINARY, "description": "The photo."}},
                }
            },
            **{media_type: {"schema": _BINARY} for media_type in ("application/octet-stream", "image/*")},
            "application/json": {
                "schema": {
                    "type": "object",
                    "minProperties": 1,
                    "properties": {
                        "inputs": {"type": "string", "description": "The image in base64, or a data URL."},
                        "url": {"type": "string", "description": "URL of the image, if the gateway fetches images."},
                    },
                }
            },
        },
    }
}
BATCH_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "A form with one file for each photo, all with the same field name.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "minItems": 1, "items": _BINARY, "description": "The photos."}
                    },
                }
            }
        },
    }
}


def result_fields(ranked: Ranked, label_field: LabelField) -> dict[str, object]:
    """The fields of `BreedResult` or `LabelResult`, which differ only in the name of the field with the best label."""
    optional = {"label_set": ranked.label_set, "labels": ranked.labels}
    return {
        label_field: ranked.label,
        "looks_like": ranked.looks_like,
        "confidence": ranked.confidence,
        "predictions": [{"label": label, "score": score} for label, score in ranked.predictions],
        **{name: value for name, value in optional.items() if value is not None},
    }


def failed_item(upload: Upload, error: errors.GatewayError) -> dict[str, object]:
    """The fields of `FailedItem`: what the answer to a batch says about an image that failed."""
    return {"filename": upload.filename, "error": problem(error, with_request_id=False)}


def json_answer(request: Request, contract: Contract, fields: Mapping[str, object]) -> Response:
    """An answer with these fields, and with the model and the version that answered."""
    body = to_json({**fields, **model_field(contract)})
    return Response(body, headers=answer_headers(request, contract), media_type="application/json")


def answer_headers(request: Request, contract: Contract) -> dict[str, str]:
    """The headers of an answer: the version that answered, and the time of each stage."""
    return {"X-Model-Version": str(contract.version), "Server-Timing": record_of(request).server_timing()}


def model_field(contract: Contract) -> dict[str, object]:
    """The field `model` of an answer: the model and the version that answered."""
    return {"model": {"name": contract.model, "version": contract.version}}
