"""The description of response headers in OpenAPI, which FastAPI does not generate."""

from __future__ import annotations

from typing import Any

from gateway.http.middleware.access import OPEN_PATHS

RETRY_STATUSES = frozenset({"408", "429", "503", "504"})
"""Statuses of temporary errors."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "ID of the request: from the request header of the same name, or generated.",
        "schema": {"type": "string", "examples": ["6c1f0a4e9d5b4c2f8a7e3d1b0c9f8e7d"]},
    },
    "X-Model-Version": {
        "description": "Version of the model that answered.",
        "schema": {"type": "integer", "examples": [1]},
    },
    "Server-Timing": {
        "description": "Milliseconds in each stage (W3C Server Timing): upload, queue, decode, predict, paint.",
        "schema": {
            "type": "string",
            "examples": ["upload;dur=0.40, decode;dur=2.10, predict;dur=18.31"],
        },
    },
    "RateLimit-Policy": {
        "description": "Limits on requests, if any are set: quota `q` in a window of `w` seconds "
        "(draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string", "examples": ['"60per60s";q=60;w=60']},
    },
    "RateLimit": {
        "description": "Remaining quota of each limit: `r` requests for the next `t` seconds. Errors after the "
        "check of the API key have it, too.",
        "schema": {"type": "string", "examples": ['"60per60s";r=59;t=60']},
    },
    "Retry-After": {
        "description": "Seconds to wait before a retry.",
        "schema": {"type": "integer", "examples": [1]},
    },
}


def describe(schema: dict[str, Any]) -> None:
    """Add to every operation the headers that its responses may have."""
    schema["components"]["headers"] = HEADERS
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                names = ["X-Request-ID"]
                if status == "200" and "post" in operations:
                    names.append("Server-Timing")
                    if not path.endswith("/preview"):  # every other POST asks a model
                        names.append("X-Model-Version")
                if path not in OPEN_PATHS and status in ("200", "429"):  # other errors often have them, too
                    names += ["RateLimit-Policy", "RateLimit"]
                if status in RETRY_STATUSES:
                    names.append("Retry-After")
                references = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
                response["headers"] = {**response.get("headers", {}), **references}
