"""The id of the request in whose context code runs."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the HTTP request; log lines carry it, and the model server gets it as metadata ``x-request-id``.

Where images of several requests are sent together, it is their ids with commas between them."""
