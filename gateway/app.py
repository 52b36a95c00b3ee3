"""The app: its parts put together, and their lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from gateway import __version__, access, cors, problems, response_headers
from gateway.access import Access
from gateway.admission import Admission
from gateway.backend import Backend, GrpcBackend
from gateway.channel import Connection, Tls
from gateway.connection import ConnectionOptions
from gateway.dependencies import Services
from gateway.hangup import CancelOnHangUp
from gateway.inference.classifier import Classifier
from gateway.inference.explainer import Explainer
from gateway.inference.predictor import Predictor
from gateway.inference.worker_pools import WorkerPools
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.middleware import RequestContext
from gateway.ratelimit import RateLimits
from gateway.resolver import ContractResolver
from gateway.routes import explain, health, inference, models, pages, predictions, tfserving
from gateway.routing import Routes, Shadows
from gateway.schemas import Problem
from gateway.settings import Settings
from gateway.stopping import Stopping
from gateway.telemetry import Telemetry
from gateway.workers.fork_server import ForkServer

if TYPE_CHECKING:
    from gateway.tracing import Tracing

DESCRIPTION = """Send a photo, get a breed:

    curl -F dog_image=@photo.jpg http://localhost:8000/api/v1/predict_breed

The gateway decodes and checks uploads, asks a TensorFlow model server over gRPC, and answers with class labels.

## Errors

Each has the same body, problem details (RFC 9457, `application/problem+json`), with a `code` that does not change;
every operation lists its own. Where the same request may succeed later, `retryable` is true and the header
`Retry-After` says when. Under `/v1` and `/v2` errors are as clients of those interfaces expect them.
"""

TAGS = [
    {"name": "predictions", "description": "Photos in, labels out."},
    {"name": "models", "description": "What is served."},
    {"name": "tensorflow serving", "description": "TensorFlow Serving's REST interface."},
    {"name": "open inference protocol", "description": "What clients of KServe and Triton speak."},
    {"name": "health", "description": "For orchestrators and people on call."},
]


class State(TypedDict):
    """What the lifespan gives to every request."""

    services: Services
    connections: ConnectionOptions


def create_app(settings: Settings, backend: Backend | None = None, fork_server: ForkServer | None = None) -> FastAPI:
    """Put an app together; nothing connects or starts before its lifespan.

    Args:
        settings: Every setting.
        backend: A model server to use in place of the one at `settings.serving_target`.
        fork_server: Where worker processes are forked, to be shared by several apps; one of its own by default.
    """
    tls = Tls.from_settings(settings)
    metrics = Metrics()
    tracing = _tracing() if settings.tracing else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        interceptors = tracing.interceptors() if tracing is not None else ()
        connection = Connection(settings.serving_target, tls, interceptors, settings.request_timeout_seconds)
        server = backend if backend is not None else GrpcBackend(connection)
        resolver = ContractResolver(server, settings.model_options, settings.model_refresh_seconds)
        forks = fork_server or ForkServer()
        workers = WorkerPools(settings, forks)
        admission = Admission(
            settings.max_images_in_flight,
            settings.max_uploads,
            settings.max_upload_memory_bytes,
            settings.max_body_bytes,
        )
        classifier = Classifier(server, resolver, workers.images, settings)
        shadows = Shadows(settings, classifier, admission, metrics)
        stopping = Stopping(settings.shutdown_delay_seconds)
        warming_up = asyncio.create_task(workers.warm_up())
        try:
            with stopping.on_sigterm():
                yield {
                    "services": Services(
                        settings=settings,
                        backend=server,
                        resolver=resolver,
                        classifier=classifier,
                        explainer=Explainer(server, resolver, workers.images),
                        predictor=Predictor(server, resolver, workers.tensors, workers.images, admission, settings),
                        admission=admission,
                        metrics=metrics,
                        routes=Routes(settings.routes, resolver),
                        shadows=shadows,
                        stopping=stopping,
                    ),
                    "connections": ConnectionOptions(settings.header_timeout_seconds, settings.cors_origins, stopping),
                }
        finally:
            await asyncio.wait([warming_up])
            await shadows.close()
            await workers.close()
            if fork_server is None:
                await asyncio.to_thread(forks.close)
            await resolver.close()
            await server.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = Gateway(
        settings,
        metrics,
        tracing,
        title="Breed gateway",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lead to whatever the Host header says
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their functions
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `gateway.telemetry` and `gateway.tracing` do
        lifespan=lifespan,
    )
    routers = (predictions, explain, models, tfserving, inference, health, pages)
    for router in (module.router for module in routers):
        # Not include_router: it analyses every route again at its first request, 25 ms, and finds it twice at each.
        for route in router.routes:
            if isinstance(route, APIRoute):
                route.operation_id = route.name  # what generated clients call their functions
            app.router.routes.append(route)
    pages.mount_files(app)
    problems.install(app)
    # The one that is added last is the outermost.
    app.add_middleware(Intake)
    app.add_middleware(CancelOnHangUp)
    keys, limits = settings.known_keys, RateLimits(settings.rate_limit)
    images = RateLimits(settings.image_rate_limit, "images")
    if keys or limits or images or not settings.docs or settings.metrics == "off":
        app.add_middleware(
            Access, keys=keys, limits=limits, image_limits=images, docs=settings.docs, metrics=settings.metrics
        )
    return app


class Gateway(FastAPI):
    """FastAPI whose description of the API holds the error body, to which the routes only refer."""

    def __init__(self, settings: Settings, metrics: Metrics, tracing: Tracing | None, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.gateway_metrics = metrics
        self.tracing = tracing

    def build_middleware_stack(self) -> ASGIApp:
        """Put the request's id, telemetry and CORS around everything, the answer to an unexpected error included."""
        app = cors.middleware(super().build_middleware_stack(), self.settings.cors_origins)
        return RequestContext(Telemetry(app, self.gateway_metrics, self.tracing))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description, made when it is first asked for."""
        if not self.openapi_schema:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            described = super().openapi()
            described["components"]["schemas"]["Problem"] = schema
            _tighten(described, self.settings)
            _without_default_errors(described)
            response_headers.describe(described)
            access.describe(
                described,
                keys=bool(self.settings.known_keys),
                limits=bool(self.settings.rate_limit or self.settings.image_rate_limit),
            )
        return super().openapi()


def _without_default_errors(description: dict[str, Any]) -> None:
    """Leave out FastAPI's own error for parameters, which no route answers with."""
    for operations in description["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(name, None)


def _tighten(description: dict[str, Any], settings: Settings) -> None:
    """Say of the parameters what FastAPI does not: their limits by settings, and that none of them can be null."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                kinds = parameter["schema"].pop("anyOf", ())
                for kind in kinds:
                    if kind != {"type": "null"}:
                        parameter["schema"].update(kind)
                if parameter["name"] == "top_k":
                    parameter["schema"] |= {"maximum": settings.max_top_k, "default": settings.default_top_k}


def _tracing() -> Tracing:
    try:
        from gateway.tracing import Tracing
    except ImportError as error:
        raise SystemExit("gateway: GATEWAY_TRACING needs the extra: .venv/bin/pip install '.[tracing]'") from error
    return Tracing()
