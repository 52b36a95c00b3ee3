"""The results of an evaluation: overall, for each class, the worst mistakes, and the detection of unknown photos."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate
from trainer.evaluation.intervals import Interval
from trainer.evaluation.slices import Slice
from trainer.evaluation.threshold_curve import ThresholdCurve
from trainer.model_card import JSON, Card

HISTOGRAM_BINS = 25


@dataclass(frozen=True)
class Answer:
    """The answer for one photo: probabilities float32 (labels), or the reason why the photo cannot be read.

    `serving_default` returns only the best five classes, so all others have the probability 0. `known_score` is the
    value to compare with the threshold for "unknown".
    """

    path: Path
    probabilities: NDArray[np.float32] | None
    error: str = ""
    known_score: float = 0.0

    @property
    def unread(self) -> str:
        """Returns why the photo has no probabilities, for people."""
        return f"{self.path.parent.name}/{self.path.name}: {self.error}"


@dataclass(frozen=True)
class ClassResult:
    """The metrics of a class, and its number of photos."""

    label: str
    photos: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Mistake:
    """A photo with a wrong best label: predicted label and confidence, true label and its score."""

    path: Path
    said: str
    confidence: float
    true: str
    true_score: float


@dataclass(frozen=True)
class Unknown:
    """How well `known_score`, the sum of the scores of the labels or the best one, separates known photos from others.

    `false_unknown_rate` is the share of known photos below the threshold, `false_known_rate` the share of other photos
    above it; both are None if the model has no threshold. The counts are histograms of `known_score` with
    HISTOGRAM_BINS bins.
    """

    photos: int
    auroc: float
    false_unknown_rate: float | None
    false_known_rate: float | None
    known_counts: tuple[int, ...]
    unknown_counts: tuple[int, ...]


@dataclass(frozen=True)
class LabelSets:
    """How good the label sets of the photos are.

    Attributes:
        coverage: Share of the sets that contain the true label.
        target: The coverage that the card states.
        least_score: The score from which labels belong to the set.
        mean_size: Mean number of labels in a set.
        sizes: Number of sets of each size, from 0 labels to all.
    """

    coverage: float
    target: float
    least_score: float
    mean_size: float
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation. Rates are from 0 to 1.

    `signature` is the called signature. `macro_f1` is the mean over the classes with photos. `confusion` is int64
    (classes, classes), with a row for each true class and a column for each predicted class.
    `intervals` are the 95 % intervals of figures by their names, `auroc` among them where there are other things. Those
    of the bootstrap are missing where all resamples give the same, as without a mistake.
    `worst` are the mistakes with the highest confidence, `worst_of_class` up to three for each true class.
    """

    card: Card
    model: Path
    signature: str
    data: str
    photos: int
    accuracy: float
    top5_accuracy: float
    macro_f1: float
    reliability: calibrate.Reliability
    confusion: NDArray[np.int64]
    classes: tuple[ClassResult, ...]
    worst: tuple[Mistake, ...]
    worst_of_class: tuple[Mistake, ...]
    unreadable: tuple[str, ...]
    curve: ThresholdCurve
    slices: tuple[Slice, ...]
    label_sets: LabelSets | None
    threshold_rate: float | None
    unknown: Unknown | None
    intervals: Mapping[str, Interval]

    def to_json(self) -> dict[str, JSON]:
        """Returns the content of `evaluation.json`."""
        return {
            "model": {"name": self.card.name, "path": str(self.model), "created": self.card.created},
            "signature": self.signature,
            "data": self.data,
            "photos": self.photos,
            "accuracy": self.accuracy,
            "top5_accuracy": self.top5_accuracy,
            "macro_f1": self.macro_f1,
            "expected_calibration_error": self.reliability.expected_calibration_error,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "unknown_threshold": self.card.unknown_threshold,
            "under_threshold": self.threshold_rate,
            "reliability": [
                {"confidence": confidence, "accuracy": accuracy, "photos": count}
                for confidence, accuracy, count in self.reliability.filled()
            ],
            "unknown": dataclasses.asdict(self.unknown) if self.unknown else None,
            "thresholds": dataclasses.asdict(self.curve),
            "slices": [dataclasses.asdict(one) for one in self.slices],
            "label_sets": dataclasses.asdict(self.label_sets) if self.label_sets else None,
            "labels": list(self.card.labels),
            "classes": [dataclasses.asdict(one) for one in self.classes],
            "confusion": self.confusion.tolist(),
            "worst": [{**dataclasses.asdict(one), "path": str(one.path)} for one in self.worst],
            "unreadable": list(self.unreadable),
        }
