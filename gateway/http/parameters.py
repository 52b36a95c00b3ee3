"""Parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from gateway.errors import InvalidParameter
from gateway.http.services import services_of
from gateway.model_options import MODEL_NAME
from gateway.serving.backend import Selector

MAX_VERSION = 2**63 - 1
"""Versions are signed 64-bit integers in the protocol."""

MIN_TIMEOUT_SECONDS = 0.001
"""Minimum time limit that a caller can set."""


async def selector(
    version: Annotated[
        int | None,
        Query(ge=0, le=MAX_VERSION, description="Version of the model to use.", examples=[1]),
    ] = None,
    version_label: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=128,
            description="Label of the version to use.",
            examples=["stable"],
        ),
    ] = None,
) -> Selector:
    """The version that a request selects.

    Raises:
        InvalidParameter: The request has both parameters.
    """
    if version is not None and version_label is not None:
        raise InvalidParameter("Use either version or version_label, not both.")
    return Selector(version, version_label)


async def top_k(
    request: Request,
    top_k: Annotated[int | None, Query(ge=1, description="Number of labels to return.", examples=[1])] = None,
) -> int | None:
    """Number of labels that a request asks for; None means `Settings.default_top_k`.

    Raises:
        InvalidParameter: It is over `Settings.max_top_k`.
    """
    limit = services_of(request).settings.max_top_k
    if top_k is not None and top_k > limit:
        raise InvalidParameter(f"top_k must be at most {limit}.", limit=limit)
    return top_k


async def time_limit(
    request: Request,
    x_request_timeout: Annotated[
        float | None,
        Header(
            ge=MIN_TIMEOUT_SECONDS,
            allow_inf_nan=False,
            description="The same as `timeout_seconds`.",
            examples=[2.5],
        ),
    ] = None,
    timeout_seconds: Annotated[
        float | None,
        Query(
            ge=MIN_TIMEOUT_SECONDS,
            allow_inf_nan=False,
            description=(
                "Time limit for the answer after the upload is complete, in seconds. The gateway's limit still applies."
            ),
            examples=[2.5],
        ),
    ] = None,
) -> None:
    """Read the time limit that a caller sets. Routers whose endpoints use `deadline_of` depend on this."""
    limit = services_of(request).settings.request_timeout_seconds
    request.state.time_limit = min(limit, x_request_timeout or limit, timeout_seconds or limit)


SelectorDep = Annotated[Selector, Depends(selector)]
TopKDep = Annotated[int | None, Depends(top_k)]
ModelName = Annotated[str, Path(pattern=MODEL_NAME, description="Name of the model.", examples=["dog_breed"])]
