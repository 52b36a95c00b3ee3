"""What routes that take images share: the description of their bodies and errors, and the fields of an answer."""

from __future__ import annotations

from gateway import errors
from gateway.http.multipart import SINGLE_FIELDS
from gateway.http.problems import responses
from gateway.http.schemas import Prediction
from gateway.inference.scores import Ranked

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
SINGLE_RESPONSES = responses(*SHARED_ERRORS, errors.UnsupportedImage, errors.InvalidImage, errors.ImageTooLarge)
BATCH_RESPONSES = responses(*SHARED_ERRORS)

_BINARY = {"type": "string", "format": "binary"}
SINGLE_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": (
            f"A form with one file named {', '.join(f'`{name}`' for name in SINGLE_FIELDS)}, or the image itself. "
            "Accepted are JPEG, PNG, GIF, BMP, WebP and, if the gateway has the extra `heic`, HEIC. Of an animation, "
            "the first frame is used."
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


def ranked_fields(ranked: Ranked) -> tuple[str | None, str | None, float, list[Prediction]]:
    """Best label or None for unknown, what it looks like then, the best score, and all labels, as answers have them."""
    best_label, best_score = ranked.predictions[0]
    predictions = [Prediction(label=label, score=score) for label, score in ranked.predictions]
    return None if ranked.unknown else best_label, ranked.looks_like, best_score, predictions
