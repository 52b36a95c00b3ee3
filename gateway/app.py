"""Create and connect the parts of the app."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from gateway import __version__
from gateway.grpc_api.server import GrpcServer
from gateway.http import cors, error_handlers, openapi
from gateway.http.middleware.access import Access
from gateway.http.middleware.body_limits import BodyLimits
from gateway.http.middleware.client_disconnect import CancelOnDisconnect
from gateway.http.middleware.request_id import RequestContext
from gateway.http.middleware.telemetry import Telemetry
from gateway.http.routes import embed, explain, feedback, health, hugging_face, models, pages, predictions, preview
from gateway.http.routes import open_inference as inference
from gateway.http.routes import review as review_routes
from gateway.http.routes import tensorflow_serving as tfserving
from gateway.http.server.connection import ConnectionOptions
from gateway.image_urls.fetcher import ImageFetcher
from gateway.inference.admission import Admission
from gateway.inference.classifier import Classifier
from gateway.inference.embedder import Embedder
from gateway.inference.explainer import Explainer
from gateway.inference.predictor import Predictor
from gateway.inference.readiness import Readiness
from gateway.inference.shadowing import Shadows
from gateway.inference.traffic_split import TrafficSplit
from gateway.inference.traffic_split_file import TrafficSplitFile
from gateway.inference.worker_pools import WorkerPools, max_request_bytes
from gateway.memory import trim_when_idle
from gateway.observability.metrics import Metrics
from gateway.observability.scrapes import Scrapes
from gateway.prediction_log.prediction_log import PredictionLog
from gateway.prediction_log.review import Review
from gateway.prediction_log.storage import Storage, open_storage
from gateway.security.access_control import AccessControl
from gateway.security.rate_limits import RateLimits
from gateway.services.services import Services
from gateway.services.shutdown import Shutdown
from gateway.serving.channel import ModelServerChannel, tls_credentials
from gateway.serving.grpc_backend import GrpcBackend
from gateway.serving.resolver import ContractResolver
from gateway.settings import Settings
from gateway.workers.fork_server import ForkServer

if TYPE_CHECKING:
    from gateway.observability.tracing import Tracing


def create_app(settings: Settings, fork_server: ForkServer | None = None) -> FastAPI:
    """Create an app. Nothing connects or starts before its lifespan.

    Several apps may share a `fork_server`; by default, the app starts its own.
    """
    credentials = tls_credentials(settings)
    control = AccessControl(
        settings.known_keys, RateLimits(settings.rate_limit), RateLimits(settings.image_rate_limit, "images")
    )
    metrics = Metrics(settings.workers)
    tracing = _tracing() if settings.tracing else None
    log_storage = _log_storage(settings.prediction_log) if settings.prediction_log is not None else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        async with AsyncExitStack() as closing:
            if tracing is not None:
                closing.push_async_callback(asyncio.to_thread, tracing.close)
            interceptors = tracing.interceptors() if tracing is not None else ()
            channel = ModelServerChannel(
                settings.serving_target,
                credentials,
                settings.serving_tls_server_name,
                interceptors,
                settings.request_timeout_seconds,
            )
            server = GrpcBackend(channel)
            closing.push_async_callback(server.close)
            resolver = ContractResolver(server, settings.model_options, settings.model_refresh_seconds)
            closing.push_async_callback(resolver.close)
            forks = fork_server or ForkServer()
            if fork_server is None:
                closing.push_async_callback(asyncio.to_thread, forks.close)
            admission = Admission(
                settings.max_images_in_flight,
                settings.max_uploads,
                settings.max_upload_memory_bytes,
                max_request_bytes(settings),
            )
            workers = WorkerPools(settings, forks, admission.hold)
            closing.push_async_callback(workers.close)
            image_fetcher = _image_fetcher(settings)
            if image_fetcher is not None:
                closing.callback(image_fetcher.close)
            classifier = Classifier(server, resolver, workers.images, settings)
            readiness = Readiness(resolver, classifier)
            closing.push_async_callback(readiness.close)
            log = review = None
            if log_storage is not None:
                log = PredictionLog(settings, log_storage, workers.background, metrics)
                closing.push_async_callback(log.close)
                log.start()
                if settings.review_keys:
                    review = Review(log_storage)
                    closing.push_async_callback(review.close)
            shadows = Shadows(settings, classifier, admission, metrics, log.record_shadow if log is not None else None)
            closing.push_async_callback(shadows.close)
            traffic_split = TrafficSplit(settings.traffic_split, resolver, metrics)
            tasks = [asyncio.create_task(workers.warm_up()), asyncio.create_task(trim_when_idle(admission))]
            closing.push_async_callback(_cancel, tasks)
            if settings.traffic_split_file is not None:
                file = TrafficSplitFile(settings.traffic_split_file, settings.traffic_split, traffic_split, metrics)
                await file.read()  # before the first request
                tasks.append(asyncio.create_task(file.follow()))
            shutdown = Shutdown(settings.shutdown_delay_seconds)
            services = Services(
                settings=settings,
                resolver=resolver,
                readiness=readiness,
                classifier=classifier,
                explainer=Explainer(server, resolver, workers.images),
                embedder=Embedder(server, resolver, workers.images, settings),
                image_workers=workers.images,
                tensor_workers=workers.tensors,
                predictor=Predictor(server, resolver, workers.tensors, workers.images, admission, settings),
                admission=admission,
                metrics=metrics,
                scrapes=Scrapes(metrics),
                traffic_split=traffic_split,
                shadows=shadows,
                prediction_log=log,
                review=review,
                image_fetcher=image_fetcher,
                shutdown=shutdown,
            )
            if settings.grpc_port is not None:
                grpc_server = GrpcServer(services, control, tracing)
                closing.push_async_callback(grpc_server.close)
                await grpc_server.start()
                shutdown.when_stopping(grpc_server.begin_stop)
                app.state.grpc_port = grpc_server.port
            closing.enter_context(shutdown.on_sigterm())
            connections = ConnectionOptions(settings.header_timeout_seconds, settings.cors_origins, shutdown)
            yield {"services": services, "connections": connections}

    app = Gateway(
        settings,
        metrics,
        tracing,
        title="Breed gateway",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        license_info=openapi.LICENCE,
        contact=openapi.CONTACT,
        servers=openapi.SERVERS,
        openapi_url=None,  # `gateway.http.routes.pages` serves it
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would follow the Host header
        # What `gateway.http.middleware.telemetry` and `gateway.observability.tracing` do.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    interfaces = (predictions, explain, embed, preview, feedback, review_routes, models, tfserving, inference)
    for module in (*interfaces, hugging_face, health, pages):
        # Not include_router, which analyses every route again at its first request (25 ms) and matches each request
        # twice.
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                route.operation_id = route.name  # what generated clients call their functions
            app.router.routes.append(route)
    pages.mount_files(app)
    error_handlers.install(app)
    # The middleware that is added last is the outermost.
    app.add_middleware(BodyLimits)
    app.add_middleware(CancelOnDisconnect)
    review_control = dataclasses.replace(
        control,
        keys=settings.reviewers,
        refusal="This key may not review. The setting review_keys lists the keys that may.",
    )
    if control or review_control or not settings.docs or settings.metrics == "off":
        app.add_middleware(Access, control=control, review=review_control, docs=settings.docs, metrics=settings.metrics)
    return app


def check_parts(settings: Settings) -> None:
    """Exit with one line if a package that the settings need is not installed, or the prediction log cannot be opened.

    Raises:
        SystemExit: The message is that line.
    """
    if settings.tracing:
        _tracing()
    if settings.prediction_log is not None:
        _log_storage(settings.prediction_log)


class Gateway(FastAPI):
    """FastAPI with our middleware around everything and a completed OpenAPI description."""

    def __init__(self, settings: Settings, metrics: Metrics, tracing: Tracing | None, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.gateway_metrics = metrics
        self.tracing = tracing

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap request ID, telemetry and CORS around everything, including answers to unexpected errors."""
        app = cors.middleware(super().build_middleware_stack(), self.settings.cors_origins)
        return RequestContext(Telemetry(app, self.gateway_metrics, self.tracing))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description, created on first use."""
        if not self.openapi_schema:
            openapi.complete(super().openapi(), self.settings)
        return super().openapi()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _image_fetcher(settings: Settings) -> ImageFetcher | None:
    if not settings.image_url_origins:
        return None
    return ImageFetcher(
        settings.image_url_origins,
        allow_private=settings.image_url_private,
        seconds=settings.image_url_timeout_seconds,
        max_bytes=settings.max_upload_bytes,
    )


def _tracing() -> Tracing:
    try:
        from gateway.observability.tracing import Tracing
    except ImportError as error:
        raise SystemExit(
            "breed-gateway: GATEWAY_TRACING requires OpenTelemetry: pip install 'breed-gateway[tracing]'"
        ) from error
    return Tracing()


def _log_storage(address: str) -> Storage:
    try:
        return open_storage(address)
    except ImportError as error:
        raise SystemExit(
            "breed-gateway: this GATEWAY_PREDICTION_LOG requires fsspec and its package for that storage, for S3: "
            f"pip install 'breed-gateway[s3]' ({error})"
        ) from error
    except (OSError, ValueError) as error:
        raise SystemExit(f"breed-gateway: the GATEWAY_PREDICTION_LOG {address} cannot be used: {error}") from error
