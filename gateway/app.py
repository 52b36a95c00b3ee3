"""The app: its parts put together, and their lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from gateway import __version__, problems
from gateway.admission import Admission
from gateway.backend import Backend, GrpcBackend
from gateway.classifier import Classifier
from gateway.dependencies import Services
from gateway.explainer import Explainer
from gateway.metrics import Metrics
from gateway.middleware import RequestContext
from gateway.predictor import Predictor
from gateway.resolver import ContractResolver
from gateway.routes import explain, health, inference, models, pages, predictions, tfserving
from gateway.routing import Routes, Shadows
from gateway.schemas import Problem
from gateway.settings import Settings
from gateway.telemetry import Telemetry

if TYPE_CHECKING:
    from gateway.tracing import Tracing

DESCRIPTION = """Send a photo, get a breed:

    curl -F dog_image=@photo.jpg http://localhost:8000/api/v1/predict_breed

The gateway decodes and checks uploads, asks a TensorFlow model server over gRPC, and answers with class labels. Every
error has the same body (`application/problem+json`) with a stable `code`.
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


def create_app(settings: Settings, backend: Backend | None = None) -> FastAPI:
    """Put an app together; nothing connects or starts before its lifespan.

    Args:
        settings: Every setting.
        backend: A model server to use in place of the one at `settings.serving_target`.
    """
    metrics = Metrics()
    tracing = _tracing() if settings.tracing else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        interceptors = tracing.interceptors() if tracing is not None else ()
        server = backend if backend is not None else GrpcBackend(settings.serving_target, interceptors)
        resolver = ContractResolver(server, settings.model_options, settings.model_refresh_seconds)
        decoders = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
        admission = Admission(settings.max_images_in_flight)
        classifier = Classifier(server, resolver, decoders, settings)
        shadows = Shadows(settings, classifier, admission, metrics)
        try:
            yield {
                "services": Services(
                    settings=settings,
                    backend=server,
                    resolver=resolver,
                    classifier=classifier,
                    explainer=Explainer(server, resolver, decoders, settings),
                    predictor=Predictor(server, resolver, decoders, admission, settings),
                    admission=admission,
                    decoders=decoders,
                    metrics=metrics,
                    routes=Routes(settings.routes, resolver),
                    shadows=shadows,
                )
            }
        finally:
            await shadows.close()
            decoders.shutdown(cancel_futures=True)
            await resolver.close()
            await server.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = Gateway(
        title="Breed gateway",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their functions
        lifespan=lifespan,
    )
    routers = (predictions, explain, models, tfserving, inference, health, pages)
    for router in (module.router for module in routers):
        app.include_router(router)
    pages.mount_files(app)
    problems.install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-Request-ID", "X-Routing-Key"],
            expose_headers=["X-Request-ID", "X-Model-Version", "Retry-After", "Server-Timing"],
        )
    app.add_middleware(Telemetry, metrics=metrics, tracing=tracing)
    app.add_middleware(RequestContext)
    return app


class Gateway(FastAPI):
    """FastAPI whose description of the API holds the error body, to which the routes only refer."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description, made when it is first asked for."""
        if not self.openapi_schema:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            super().openapi()["components"]["schemas"]["Problem"] = schema
        return super().openapi()


def _tracing() -> Tracing:
    try:
        from gateway.tracing import Tracing
    except ImportError as error:
        raise SystemExit("gateway: GATEWAY_TRACING needs the extra: pip install 'breed-gateway[tracing]'") from error
    return Tracing()
