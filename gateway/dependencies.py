"""What routes ask for: the parts of the running app, and the parameters they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from gateway.access import count_images
from gateway.admission import Admission
from gateway.backend import Backend, Selector
from gateway.calls import Call
from gateway.deadline import Deadline
from gateway.errors import InvalidParameter
from gateway.inference.classifier import Classifier
from gateway.inference.explainer import Explainer
from gateway.inference.predictor import Predictor
from gateway.metrics import Metrics
from gateway.resolver import ContractResolver
from gateway.routing import ROUTING_KEY, Routes, Shadows
from gateway.settings import MODEL_NAME, Settings
from gateway.stopping import Stopping

MAX_VERSION = 2**63 - 1
"""Versions are signed 64-bit numbers on the wire."""

MIN_TIMEOUT_SECONDS = 0.001
"""Less is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running app."""

    settings: Settings
    backend: Backend
    resolver: ContractResolver
    classifier: Classifier
    predictor: Predictor
    explainer: Explainer
    admission: Admission
    metrics: Metrics
    routes: Routes
    shadows: Shadows
    stopping: Stopping

    @asynccontextmanager
    async def admit(self, request: Request, images: int) -> AsyncIterator[None]:
        """Count that many images of a request against its caller's limit, and hold permits for them.

        Raises:
            RateLimited, Overloaded: As `count_images` and `Admission.admit` raise them.
        """
        await count_images(request.scope, images)
        with self.admission.admit(call_of(request).caller, images):
            self.metrics.images_in_flight.inc(images)
            try:
                yield
            finally:
                self.metrics.images_in_flight.dec(images)

    async def route(self, request: Request, model: str, asked: Selector, deadline: Deadline) -> Selector:
        """The version that answers a request; see `Routes.choose`."""
        return await self.routes.choose(model, asked, request.headers.get(ROUTING_KEY), deadline)


def services_of(request: Request) -> Services:
    """The parts of the app that a request came to; the lifespan puts them there."""
    found = request.scope["state"]["services"]
    assert isinstance(found, Services)
    return found


def call_of(request: Request) -> Call:
    """What is noted of this request."""
    noted = request.scope["gateway.call"]
    assert isinstance(noted, Call)
    return noted


async def services(request: Request) -> Services:
    """`services_of` as a parameter of a route."""
    return services_of(request)


async def call(request: Request) -> Call:
    """`call_of` as a parameter of a route."""
    return call_of(request)


async def selector(
    version: Annotated[
        int | None,
        Query(ge=0, le=MAX_VERSION, description="Answer with this version of the model.", examples=[1]),
    ] = None,
    version_label: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=128,
            description="Answer with the version that this label stands for.",
            examples=["stable"],
        ),
    ] = None,
) -> Selector:
    """Which version a request wants.

    Raises:
        InvalidParameter: It names both.
    """
    if version is not None and version_label is not None:
        raise InvalidParameter("Give version or version_label, not both.")
    return Selector(version, version_label)


async def top_k(
    request: Request,
    top_k: Annotated[int | None, Query(ge=1, description="How many of the best labels to give.", examples=[1])] = None,
) -> int | None:
    """How many labels a request wants; None: as many as `Settings.default_top_k` says.

    Raises:
        InvalidParameter: More than the limit.
    """
    limit = services_of(request).settings.max_top_k
    if top_k is not None and top_k > limit:
        raise InvalidParameter(f"top_k is at most {limit}.", limit=limit)
    return top_k


async def time_limit(
    request: Request,
    x_request_timeout: Annotated[
        float | None,
        Header(
            ge=MIN_TIMEOUT_SECONDS,
            allow_inf_nan=False,
            description="The same as `timeout_seconds`, as a header.",
            examples=[2.5],
        ),
    ] = None,
    timeout_seconds: Annotated[
        float | None,
        Query(
            ge=MIN_TIMEOUT_SECONDS,
            allow_inf_nan=False,
            description=(
                "Seconds that the answer may take once the upload is complete, waiting, decoding and the model "
                "included. The gateway's own limit stays; of several the least counts."
            ),
            examples=[2.5],
        ),
    ] = None,
) -> None:
    """Take note of the time that a caller gives its request; for routers, whose endpoints use `deadline`."""
    limit = services_of(request).settings.request_timeout_seconds
    request.state.time_limit = min(limit, x_request_timeout or limit, timeout_seconds or limit)


def deadline(request: Request) -> Deadline:
    """The deadline of a request whose upload is complete now: the setting's, or less where the caller asked for less.

    Works below a router that depends on `time_limit`.
    """
    seconds = getattr(request.state, "time_limit", services_of(request).settings.request_timeout_seconds)
    assert isinstance(seconds, float)
    return Deadline.after(seconds)


ServicesDep = Annotated[Services, Depends(services)]
CallDep = Annotated[Call, Depends(call)]
SelectorDep = Annotated[Selector, Depends(selector)]
TopKDep = Annotated[int | None, Depends(top_k)]
ModelName = Annotated[
    str, Path(pattern=MODEL_NAME, description="Name of a model on the model server.", examples=["dog_breed"])
]
