"""The ID of the current request."""

from __future__ import annotations

import random
import re
from contextvars import ContextVar

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""IDs that are accepted from callers: they are safe in headers, log lines and gRPC metadata."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""ID of the request, for log lines and for the metadata ``x-request-id`` of calls to the model server.

If images of several requests are sent together, it is a comma-separated list."""


def accepted_id(sent: str) -> str:
    """The ID that a caller sent, or a new one if that is not accepted: 32 hexadecimal digits.

    They protect nothing, so a fast generator is enough.
    """
    return sent if REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"
