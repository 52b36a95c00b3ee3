"""What Prometheus reads at ``/metrics``.

With several workers every process writes its values to files in one folder, which `shared_between` provides, and any
of them answers a scrape for all. Label values are bounded: models and versions are those that the model server really
has, routes are templates, and whatever else a caller may choose is folded into ``other``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.observability.request_record import RequestRecord

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable in which prometheus-client looks, when it is imported, for the folder that processes share."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms, in seconds: from a decoded thumbnail to the default deadline."""

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)


def _labelled(metric: MetricT, *values: str) -> MetricT:
    return metric.labels(*values)


class Metrics:
    """Every metric of the gateway."""

    def __init__(self) -> None:
        self._child = cache(_labelled)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        if FOLDER not in os.environ:
            ProcessCollector(registry=registry)
        self._requests = Counter(
            "gateway_requests",
            "Requests answered, by route template and status; model and version where one answered.",
            ["method", "route", "status", "model", "version"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "gateway_request_seconds",
            "Time from the request's first byte to the end of its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "gateway_stage_seconds",
            "Time of one stage of a prediction: upload, queue, decode, predict; paint for a heat map over its photo.",
            ["stage", "model"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.requests_in_flight = Gauge(
            "gateway_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum", registry=registry
        )
        self.images_in_flight = Gauge(
            "gateway_images_in_flight", "Images (or rows) in work.", multiprocess_mode="livesum", registry=registry
        )
        self._images = Counter("gateway_images", "Images (or rows) taken in.", ["model"], registry=registry)
        self._image_bytes = Counter(
            "gateway_image_bytes", "Bytes of images (or tensors) taken in.", ["model"], registry=registry
        )
        self._decode_failures = Counter(
            "gateway_decode_failures", "Images that could not be decoded, by the error's code.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._version_seen = Gauge(
            "gateway_model_version_last_answer_timestamp_seconds",
            "When a version last answered, in seconds since 1970.",
            ["model", "version"],
            multiprocess_mode="max",
            registry=registry,
        )
        self.shadow_images = Counter(
            "gateway_shadow_images",
            "Images copied to the shadow: agree or disagree on the best label, failed, or dropped when busy.",
            ["model", "target", "outcome"],
            registry=registry,
        )
        self.shadow_seconds = Histogram(
            "gateway_shadow_seconds",
            "Time of the predict stage for the same images: of the version that answered (primary) and the shadow.",
            ["model", "target", "role"],
            buckets=BUCKETS,
            registry=registry,
        )

    def finished(self, method: str, status: int, seconds: float, record: RequestRecord) -> None:
        """Count a request.

        Args:
            method: Its HTTP method.
            status: Of its answer; 0 where the caller went away before there was one.
            seconds: From its arrival to the end of its answer.
            record: What was noted of it.
        """
        known = method if method in METHODS else "other"
        version = str(record.version) if record.version is not None else ""
        answer = str(status) if status else "aborted"
        self._child(self._requests, known, record.route, answer, record.model, version).inc()
        self._child(self._request_seconds, record.route).observe(seconds)
        for stage, spent in record.seconds.items():
            self._child(self._stage_seconds, stage, record.model).observe(spent)
        if record.images:
            self._child(self._images, record.model).inc(record.images)
            self._child(self._image_bytes, record.model).inc(record.image_bytes)
        for code in record.failures:
            self._child(self._decode_failures, code).inc()
        if record.version is not None and status == 200:
            self._child(self._version_seen, record.model, version).set(time.time())

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text for a scrape and its media type, in the form that the scraper accepts."""
        registry = self.registry
        if FOLDER in os.environ:
            _bury_the_dead(Path(os.environ[FOLDER]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type


@contextmanager
def shared_between(workers: int) -> Iterator[None]:
    """Provide the folder in which several worker processes keep their values; a folder from outside is kept.

    It must be entered before the workers start.
    """
    if workers == 1 or FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="breed-gateway-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def _bury_the_dead(folder: Path) -> None:
    """Forget the gauges of processes that ended; what they counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rsplit("_", 1)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
