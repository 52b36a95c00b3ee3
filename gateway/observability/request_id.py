"""The ID of the current request."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""ID of the HTTP request, for log lines and for the metadata ``x-request-id`` of calls to the model server.

If images of several requests are sent together, it is a comma-separated list."""
