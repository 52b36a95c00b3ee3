"""Prometheus metrics.

With several gateway processes, each writes its values to files in a shared folder (`shared_between`), and any of them
answers a scrape for all. The number of label values is bounded: models and versions exist on the model server, routes
are templates, and anything else that a caller can choose becomes ``other``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.observability.answer_metrics import AnswerMetrics
from gateway.observability.request_record import RequestRecord

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the shared folder; prometheus-client reads it on import."""

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
"""Media type of OpenMetrics."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms, in seconds: from decoding a thumbnail to the default deadline."""

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class Metrics:
    """Every metric of the gateway, which has `workers` processes. Those of what models answer are in `answers`."""

    def __init__(self, workers: int = 1) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        shared = FOLDER in os.environ
        if not shared:
            ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        seconds = partial(Histogram, buckets=BUCKETS, registry=self.registry)
        self._requests = counter(
            "gateway_requests",
            "Number of requests, by method, route template, status, model and version.",
            ["method", "route", "status", "model", "version"],
        )
        self._request_duration = seconds(
            "gateway_request_duration_seconds",
            "Time from the first byte of the request to the end of the response, in seconds.",
            ["route"],
        )
        self._stage_seconds = seconds(
            "gateway_stage_seconds",
            "Time of each stage of a prediction, in seconds: upload, queue, decode, predict, and paint for heat maps.",
            ["stage", "model"],
        )
        self._version_predict_seconds = seconds(
            "gateway_version_predict_seconds",
            "Time of the predict stage of successful requests, in seconds, by version.",
            ["model", "version"],
        )
        self.requests_in_flight = gauge(
            "gateway_requests_in_flight", "Number of requests in progress.", multiprocess_mode="livesum"
        )
        self.images_in_flight = gauge(
            "gateway_images_in_flight",
            "Number of images (or rows of tensors) in progress.",
            multiprocess_mode="livesum",
        )
        self._images = counter("gateway_images", "Number of images (or rows of tensors) received.", ["model"])
        self._image_bytes = counter("gateway_image_bytes", "Bytes of images (or tensors) received.", ["model"])
        self._decode_failures = counter(
            "gateway_decode_failures", "Number of images that could not be decoded, by error code.", ["reason"]
        )
        self._version_seen = gauge(
            "gateway_model_version_last_answer_timestamp_seconds",
            "Unix time of the last successful answer of each version.",
            ["model", "version"],
            multiprocess_mode="max",
        )
        self.traffic_share = gauge(
            "gateway_traffic_share",
            "Share of each target of the traffic split, from 0 to 1. A target is a version label or number.",
            ["model", "target"],
            multiprocess_mode="livemostrecent",
        )
        self.traffic_split_file_errors = counter(
            "gateway_traffic_split_file_errors",
            "How often the traffic split file was deleted or got content that is not valid.",
        )
        self.answers = AnswerMetrics(self.registry, workers, removable=not shared)
        self.prediction_records_dropped = counter(
            "gateway_prediction_records_dropped",
            "Number of records or photos that the prediction log lost, by reason: queue, storage, photo or shutdown.",
            ["reason"],
        )
        for reason in ("queue", "storage", "photo", "shutdown"):
            self.prediction_records_dropped.labels(reason)  # from 0 on: `increase` does not see where a counter starts
        self.feedback = counter(
            "gateway_feedback",
            "Number of feedback records by verdict: right, wrong, none (no label fits) or withdrawn. The version is "
            "empty if the feedback names none that is loaded.",
            ["model", "version", "verdict"],
        )
        self.shadow_images = counter(
            "gateway_shadow_images",
            "Number of images copied to a shadow, by outcome: agree, disagree, failed, or dropped because of load.",
            ["model", "target", "outcome"],
        )
        self.shadow_seconds = seconds(
            "gateway_shadow_seconds",
            "Time of the predict stage for images copied to a shadow, in seconds, by role: primary or shadow.",
            ["model", "target", "role"],
        )

    def finished(self, method: str, status: int, seconds: float, record: RequestRecord) -> None:
        """Count a request. The status is 0 if the caller disconnected before there was a response."""
        method_label = method if method in METHODS else "other"
        version = str(record.version) if record.version is not None else ""
        answer = str(status) if status else "aborted"
        self._requests.labels(method_label, record.route, answer, record.model, version).inc()
        self._request_duration.labels(record.route).observe(seconds)
        for stage, spent in record.seconds.items():
            self._stage_seconds.labels(stage, record.model).observe(spent)
        if record.images:
            self._images.labels(record.model).inc(record.images)
            self._image_bytes.labels(record.model).inc(record.image_bytes)
        for code in record.failures:
            self._decode_failures.labels(code).inc()
        if record.version is not None and status == 200:
            self.answers.count(record)
            if "predict" in record.seconds:
                self._version_predict_seconds.labels(record.model, version).observe(record.seconds["predict"])
            self._version_seen.labels(record.model, version).set(time.time())

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The response to a scrape and its media type: `OPENMETRICS`, or by default Prometheus' text format."""
        registry = self.registry
        if FOLDER in os.environ:
            _remove_ended_processes(Path(os.environ[FOLDER]))
            registry = CollectorRegistry()
            _Shared(registry)  # type: ignore[no-untyped-call]
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type


@contextmanager
def shared_between(workers: int) -> Iterator[None]:
    """Provide the folder that gateway processes share, unless the environment names one.

    Enter it before the processes start.
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


class _Shared(MultiProcessCollector):
    """The metrics in the shared folder. A file is empty for a moment after a process has created it."""

    def collect(self) -> Iterable[Metric]:
        """Merge the files that have content."""
        files = [str(file) for file in Path(self._path).glob("*.db") if _has_content(file)]
        metrics: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def _has_content(file: Path) -> bool:
    with suppress(FileNotFoundError):  # another process has removed the gauges of one that ended
        return file.stat().st_size > 0
    return False


def _remove_ended_processes(folder: Path) -> None:
    """Remove the gauges of processes that ended. Their counters stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rsplit("_", 1)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another process is removing them
                mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
