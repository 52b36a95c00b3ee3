"""What routes use: the services of the running app, and the record and the deadline of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from gateway.deadline import Deadline
from gateway.http.middleware.access import count_images
from gateway.http.server.shutdown import Shutdown
from gateway.inference.admission import Admission
from gateway.inference.classifier import Classifier
from gateway.inference.explainer import Explainer
from gateway.inference.predictor import Predictor
from gateway.inference.readiness import Readiness
from gateway.inference.shadowing import Shadows
from gateway.inference.traffic_split import ROUTING_KEY, TrafficSplit
from gateway.inference.worker_pools import ImageWorkers, TensorWorkers
from gateway.observability.metrics import Metrics
from gateway.observability.request_record import RequestRecord
from gateway.prediction_log.prediction_log import PredictionLog
from gateway.serving.backend import Selector
from gateway.serving.resolver import ContractResolver
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one running app."""

    settings: Settings
    resolver: ContractResolver
    readiness: Readiness
    classifier: Classifier
    predictor: Predictor
    explainer: Explainer
    image_workers: ImageWorkers
    tensor_workers: TensorWorkers
    admission: Admission
    metrics: Metrics
    traffic_split: TrafficSplit
    shadows: Shadows
    prediction_log: PredictionLog | None
    shutdown: Shutdown

    @asynccontextmanager
    async def admit(self, request: Request, images: int) -> AsyncIterator[None]:
        """Count images against the rate limit of the caller, and hold permits for them.

        Raises:
            RateLimited, Overloaded: As `count_images` and `Admission.admit` raise them.
        """
        await count_images(request.scope, images)
        with self.admission.admit(record_of(request).caller, images):
            self.metrics.images_in_flight.inc(images)
            try:
                yield
            finally:
                self.metrics.images_in_flight.dec(images)

    async def route(self, request: Request, model: str, selector: Selector, deadline: Deadline) -> Selector:
        """The version that answers a request; see `TrafficSplit.choose`."""
        return await self.traffic_split.choose(model, selector, request.headers.get(ROUTING_KEY), deadline)


def services_of(request: Request) -> Services:
    """The services of the app that handles a request. Its lifespan creates them."""
    services = request.scope["state"]["services"]
    assert isinstance(services, Services)
    return services


def record_of(request: Request) -> RequestRecord:
    """The record of a request."""
    record = request.scope["gateway.request_record"]
    assert isinstance(record, RequestRecord)
    return record


def deadline_of(request: Request) -> Deadline:
    """The deadline of a request whose upload is now complete: the setting, or less if the caller asks for less.

    The router must depend on `time_limit`.
    """
    seconds = getattr(request.state, "time_limit", services_of(request).settings.request_timeout_seconds)
    assert isinstance(seconds, float)
    return Deadline.after(seconds)
