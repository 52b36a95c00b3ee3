"""Metrics of what models answer, and of the photos that they answer for.

The number of labels of a version is bounded: `NAMED_LABELS` of them have time series of their own. These are the most
frequent ones in the baseline of the model card, the same ones in each gateway process. Without a baseline, they are the
first that occur; each process chooses its share of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field

from gateway.observability.request_record import RequestRecord

NAMED_LABELS = 200
"""Maximum number of labels of a version that have time series of their own."""

OTHER = "(other)"
"""Stands for all labels without a time series of their own."""

UNKNOWN = "(unknown)"
"""Stands for photos that are unknown to the model."""

TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
"""Upper bounds of the histograms of confidence and brightness. The baseline in a model card has the same bins."""

PIXELS = (1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
"""Upper bounds of the histogram of photo sizes: from a thumbnail to the best cameras."""

Share = Annotated[float, Field(ge=0, le=1)]


class Baseline(BaseModel):
    """What a version answered to its validation photos, from the model card."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    photos: int = Field(ge=1)
    """Number of photos."""
    labels: Mapping[str, Share]
    """Share of the photos that got each label; labels that none got are listed too."""
    unknown: Share
    """Share of the photos that were unknown. Together with those of the labels, it sums to 1."""
    confidence: tuple[Share, ...] = Field(min_length=len(TENTHS), max_length=len(TENTHS))
    """Share of the photos whose best score is in each bin of `TENTHS`."""


@dataclass(slots=True)
class _Version:
    baseline: Baseline | None
    counted_labels: set[str] = field(default_factory=set)
    gauge_labels: set[str] = field(default_factory=set)
    """Labels with a baseline gauge, those of earlier baselines too if their gauges cannot be removed."""


class AnswerMetrics:
    """Counts answers by label and confidence, and photos by size and brightness.

    `workers` is the number of gateway processes whose time series are added up. Those in files that processes share are
    not `removable`.
    """

    def __init__(self, registry: CollectorRegistry, workers: int = 1, *, removable: bool = True) -> None:
        self._first_labels = NAMED_LABELS // workers
        self._removable = removable
        self._versions: dict[tuple[str, str], _Version] = {}
        self.predictions = Counter(
            "gateway_predictions",
            "Number of photos by the label of their answer: (unknown) for unknown photos, (other) for all labels but "
            "the 200 most frequent ones.",
            ["model", "version", "label"],
            registry=registry,
        )
        histogram = partial(Histogram, registry=registry)
        self.confidence = histogram(
            "gateway_prediction_confidence",
            "Best score of each photo, from 0 to 1.",
            ["model", "version"],
            buckets=TENTHS,
        )
        self.photo_pixels = histogram(
            "gateway_photo_pixels",
            "Width times height of each photo, for models that take pixels.",
            ["model"],
            buckets=PIXELS,
        )
        self.photo_brightness = histogram(
            "gateway_photo_brightness",
            "Mean brightness of each photo, from 0 (black) to 1 (white), for models that take pixels.",
            ["model"],
            buckets=TENTHS,
        )
        share = partial(Gauge, multiprocess_mode="livemostrecent", registry=registry)
        self.baseline_label_share = share(
            "gateway_baseline_label_share",
            "Share of the validation photos that got each label, from the model card; see gateway_predictions_total.",
            ["model", "version", "label"],
        )
        self.baseline_confidence_share = share(
            "gateway_baseline_confidence_share",
            "Share of the validation photos whose best score is at most le, from the model card.",
            ["model", "version", "le"],
        )

    def count(self, record: RequestRecord) -> None:
        """Count the answers and photos of a request."""
        if record.answers:
            model, version = record.model, str(record.version)
            current = self._versions.get((model, version))
            if current is None or (current.baseline is not record.baseline and current.baseline != record.baseline):
                old = current
                current = self._versions[model, version] = self._described(model, version, record.baseline)
                if old is not None:
                    self._forget(model, version, old, current)
            for label, confidence in record.answers:
                self.predictions.labels(model, version, self._series_label(current, label)).inc()
                self.confidence.labels(model, version).observe(confidence)
        for pixels, brightness in record.photos:
            self.photo_pixels.labels(record.model).observe(pixels)
            self.photo_brightness.labels(record.model).observe(brightness)

    def _described(self, model: str, version: str, baseline: Baseline | None) -> _Version:
        """Set the gauges of a version, and its counters to 0: `increase` does not see where a counter starts."""
        for label in (UNKNOWN, OTHER):
            self.predictions.labels(model, version, label).inc(0)
        if baseline is None:
            return _Version(None)
        shares = _shares(baseline)
        for label, share in shares.items():
            self.predictions.labels(model, version, label).inc(0)
            self.baseline_label_share.labels(model, version, label).set(share)
        total = 0.0
        for bound, share in zip(TENTHS, baseline.confidence, strict=True):
            total += share
            self.baseline_confidence_share.labels(model, version, str(bound)).set(total)
        return _Version(baseline, shares.keys() - {UNKNOWN, OTHER}, set(shares))

    def _forget(self, model: str, version: str, old: _Version, new: _Version) -> None:
        """Remove the gauges of an old baseline that the new one has not set.

        Where they cannot be removed, the share of a label is set to 0, and to NaN if there is no baseline any more.
        """
        left = 0.0
        if old.baseline is not None and new.baseline is None:
            left = math.nan
            self._remove(self.baseline_confidence_share, ((model, version, str(bound)) for bound in TENTHS), left)
        gone = old.gauge_labels - new.gauge_labels
        self._remove(self.baseline_label_share, ((model, version, label) for label in gone), left)
        if not self._removable:
            new.gauge_labels |= gone

    def _remove(self, gauge: Gauge, series: Iterable[tuple[str, str, str]], left: float) -> None:
        for labels in series:
            if self._removable:
                gauge.remove(*labels)
            else:
                gauge.labels(*labels).set(left)

    def _series_label(self, version: _Version, label: str | None) -> str:
        """The label, or what stands for it."""
        if label is None:
            return UNKNOWN
        if label in version.counted_labels:
            return label
        if version.baseline is not None or len(version.counted_labels) >= self._first_labels:
            return OTHER
        version.counted_labels.add(label)
        return label


def _shares(baseline: Baseline) -> dict[str, float]:
    """The share of each label that has a time series of its own, and of `UNKNOWN` and `OTHER`."""
    labels = sorted(baseline.labels, key=lambda label: -baseline.labels[label])[:NAMED_LABELS]
    shares = {label: baseline.labels[label] for label in labels}
    return shares | {UNKNOWN: baseline.unknown, OTHER: max(0.0, 1 - baseline.unknown - sum(shares.values()))}
