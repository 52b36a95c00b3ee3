"""The OpenAPI description: what FastAPI does not know about this API."""

from __future__ import annotations

from typing import Any

from gateway.http import response_headers
from gateway.http.middleware import access
from gateway.http.schemas import Problem
from gateway.settings import Settings

DESCRIPTION = """Send a photo, get a breed:

    curl -F dog_image=@photo.jpg http://localhost:8000/api/v1/predict_breed

The gateway decodes and checks uploads, calls a TensorFlow model server over gRPC, and answers with class labels.

## Errors

Every error has the same format, problem details (RFC 9457, `application/problem+json`), with a stable `code`; each
operation lists its codes. If the same request may succeed later, `retryable` is true and the header `Retry-After` says
when. Under `/v1`, `/v2` and `/hf`, errors have the form that clients of those interfaces expect.
"""

LICENCE = {"name": "MIT", "identifier": "MIT"}

CONTACT = {"name": "Breed gateway"}

SERVERS = [{"url": "/", "description": "The gateway that serves this description."}]

TAGS = [
    {"name": "predictions", "description": "Send images, get labels."},
    {"name": "models", "description": "List the served models."},
    {"name": "feedback", "description": "Report whether answers were right."},
    {"name": "tensorflow serving", "description": "TensorFlow Serving's REST interface."},
    {"name": "open inference protocol", "description": "The protocol of KServe and Triton."},
    {"name": "hugging face", "description": "The interface of Hugging Face's inference clients."},
    {"name": "health", "description": "Probes and metrics."},
]


def complete(description: dict[str, Any], settings: Settings) -> None:
    """Add limits from the settings, the error body, response headers and API keys to FastAPI's description."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    description["components"]["schemas"]["Problem"] = schema
    _tighten(description, settings)
    _without_default_errors(description)
    response_headers.describe(description)
    access.describe(
        description,
        keys=bool(settings.known_keys),
        limits=bool(settings.rate_limit or settings.image_rate_limit),
    )


def _without_default_errors(description: dict[str, Any]) -> None:
    """Remove FastAPI's own error for parameters, which no route returns."""
    for operations in description["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(name, None)


def _tighten(description: dict[str, Any], settings: Settings) -> None:
    """Describe the limits of parameters from the settings, and that no parameter can be null."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                kinds = parameter["schema"].pop("anyOf", ())
                for kind in kinds:
                    if kind != {"type": "null"}:
                        parameter["schema"].update(kind)
                if parameter["name"] == "top_k":
                    parameter["schema"] |= {"maximum": settings.max_top_k, "default": settings.default_top_k}
