"""The services of the running app, and a call as they see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.deadline import Deadline
from gateway.image_urls.fetcher import ImageFetcher
from gateway.inference.admission import Admission
from gateway.inference.classifier import Classifier
from gateway.inference.embedder import Embedder
from gateway.inference.explainer import Explainer
from gateway.inference.predictor import Predictor
from gateway.inference.readiness import Readiness
from gateway.inference.shadowing import Shadows
from gateway.inference.traffic_split import TrafficSplit
from gateway.inference.worker_pools import ImageWorkers, TensorWorkers
from gateway.observability.metrics import Metrics
from gateway.observability.request_record import RequestRecord
from gateway.observability.scrapes import Scrapes
from gateway.prediction_log.prediction_log import PredictionLog
from gateway.prediction_log.review import Review
from gateway.services.shutdown import Shutdown
from gateway.serving.backend import Selector
from gateway.serving.resolver import ContractResolver
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose body has arrived, over HTTP or gRPC.

    Attributes:
        count_images: Counts images against the rate limit of the caller.
        routing_key: Calls with the same key get the same version of a traffic split.
    """

    record: RequestRecord
    deadline: Deadline
    count_images: Callable[[int], Awaitable[None]]
    routing_key: str | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one running app."""

    settings: Settings
    resolver: ContractResolver
    readiness: Readiness
    classifier: Classifier
    predictor: Predictor
    explainer: Explainer
    embedder: Embedder
    image_workers: ImageWorkers
    tensor_workers: TensorWorkers
    admission: Admission
    metrics: Metrics
    scrapes: Scrapes
    traffic_split: TrafficSplit
    shadows: Shadows
    prediction_log: PredictionLog | None
    review: Review | None
    image_fetcher: ImageFetcher | None
    shutdown: Shutdown

    @asynccontextmanager
    async def admit(self, call: Call, images: int) -> AsyncIterator[None]:
        """Count images against the rate limit of the caller, and hold permits for them.

        Raises as `Call.count_images` and `Admission.admit` do.
        """
        await call.count_images(images)
        with self.admission.admit(call.record.caller, images):
            self.metrics.images_in_flight.inc(images)
            try:
                yield
            finally:
                self.metrics.images_in_flight.dec(images)

    async def route(self, call: Call, model: str, selector: Selector) -> Selector:
        """The version that answers a call; see `TrafficSplit.choose`."""
        return await self.traffic_split.choose(model, selector, call.routing_key, call.deadline)
