"""Metrics of a model: overall, for each class, the worst mistakes, and the detection of unknown photos."""

import dataclasses
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.evaluation import calibrate
from trainer.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from trainer.model_card import JSON, Card

TOP_K = 5
WORST_SHOWN = 24
HISTOGRAM_BINS = 25


@dataclass(frozen=True)
class Answer:
    """The answer for one photo: probabilities float32 (labels), or the reason why the photo cannot be read.

    `serving_default` returns only the best five classes, so all others have the probability 0. `known` is the value to
    compare with the threshold for "unknown".
    """

    path: Path
    probabilities: NDArray[np.float32] | None
    error: str = ""
    known: float = 0.0


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
    """How well `known`, the sum of the scores of the labels or the best score, separates known photos from others.

    `false_unknown_rate` is the share of known photos below the threshold, `false_known_rate` the share of other photos
    above it; both are None if the model has no threshold. The counts are histograms of `known` with HISTOGRAM_BINS
    bins.
    """

    photos: int
    auroc: float
    false_unknown_rate: float | None
    false_known_rate: float | None
    known_counts: tuple[int, ...]
    unknown_counts: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation. Rates are from 0 to 1.

    `signature` is the called signature. `macro_f1` is the mean over the classes with photos. `confusion` is int64
    (classes, classes), with a row for each true class and a column for each predicted class.
    `intervals` are the 95 % intervals of figures by their names, `auroc` among them where there are other things.
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
    unreadable: tuple[str, ...]
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
            "labels": list(self.card.labels),
            "classes": [dataclasses.asdict(one) for one in self.classes],
            "confusion": self.confusion.tolist(),
            "worst": [{**dataclasses.asdict(one), "path": str(one.path)} for one in self.worst],
            "unreadable": list(self.unreadable),
        }


class Tally:
    """Accumulates answers. It keeps a few numbers of each photo, and the paths of the worst mistakes."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.confusion = np.zeros((len(labels), len(labels)), np.int64)
        self.in_top = 0
        self.confidences: list[float] = []
        self.known: list[float] = []
        self.right: list[bool] = []
        self.cells: list[int] = []
        self.worst: list[tuple[float, int, Mistake]] = []
        self.strangers: list[float] = []
        self.unreadable: list[str] = []

    def add(self, answer: Answer, label: int) -> None:
        """Counts the answer to a photo of a known class."""
        path, probabilities = answer.path, answer.probabilities
        if probabilities is None:
            self._add_unreadable(answer)
            return
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        self.confusion[label, best] += 1
        self.cells.append(label * len(self.labels) + best)
        # Count classes with higher scores, which does not depend on how top_k orders ties.
        self.in_top += int((probabilities > probabilities[label]).sum() < TOP_K)
        self.confidences.append(confidence)
        self.known.append(answer.known)
        self.right.append(best == label)
        if best != label:
            mistake = Mistake(path, self.labels[best], confidence, self.labels[label], float(probabilities[label]))
            heapq.heappush(self.worst, (confidence, -len(self.right), mistake))
            if len(self.worst) > WORST_SHOWN:
                heapq.heappop(self.worst)

    def add_stranger(self, answer: Answer) -> None:
        """Counts the answer to a photo of another thing."""
        if answer.probabilities is None:
            self._add_unreadable(answer)
        else:
            self.strangers.append(answer.known)

    def _add_unreadable(self, answer: Answer) -> None:
        self.unreadable.append(f"{answer.path.parent.name}/{answer.path.name}: {answer.error}")

    def evaluation(self, card: Card, model: Path, data: str, signature: str = "pixels") -> Evaluation:
        """Returns the results for all answers.

        Raises:
            TrainerError: No photo of a known class could be read.
        """
        if not self.right:
            raise TrainerError(f"no photo in {data} can be read: {self.unreadable[0]}")
        confidences, right = np.array(self.confidences), np.array(self.right)
        known, strangers = np.array(self.known), np.array(self.strangers)
        classes = _class_results(self.confusion, card.labels)
        threshold = card.unknown_threshold
        under = None if threshold is None else float((known < threshold).mean())
        unknown = None
        if len(strangers):
            over = None if threshold is None else float((strangers >= threshold).mean())
            counts = (_histogram(known), _histogram(strangers))
            unknown = Unknown(len(strangers), calibrate.auroc(known, strangers), under, over, *counts)
        return Evaluation(
            card=card,
            model=model,
            signature=signature,
            data=data,
            photos=len(right),
            accuracy=float(right.mean()),
            top5_accuracy=self.in_top / len(right),
            macro_f1=_macro_f1(self.confusion),
            reliability=calibrate.reliability(confidences, right),
            confusion=self.confusion,
            classes=classes,
            worst=tuple(mistake for *_, mistake in sorted(self.worst, reverse=True)),
            unreadable=tuple(self.unreadable),
            threshold_rate=under,
            unknown=unknown,
            intervals=self._intervals(),
        )

    def _intervals(self) -> dict[str, Interval]:
        count, shape = len(self.right), self.confusion.shape

        def macro_f1(cells: NDArray[np.int64]) -> float:
            return _macro_f1(np.bincount(cells, minlength=self.confusion.size).reshape(shape))

        def calibration_error(rows: NDArray[np.float64]) -> float:
            return calibrate.reliability(rows[:, 0], rows[:, 1] > 0).expected_calibration_error

        found = {
            "accuracy": wilson_interval(sum(self.right), count),
            "top5_accuracy": wilson_interval(self.in_top, count),
            "macro_f1": bootstrap_interval(macro_f1, np.array(self.cells)),
            "expected_calibration_error": bootstrap_interval(
                calibration_error, np.column_stack([self.confidences, self.right])
            ),
        }
        if self.strangers:
            found["auroc"] = bootstrap_interval(calibrate.auroc, np.array(self.known), np.array(self.strangers))
        return found


def _histogram(scores: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(np.histogram(scores, HISTOGRAM_BINS, (0.0, 1.0))[0].tolist())


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 of the classes that have photos."""
    photos = confusion.sum(axis=1)
    f1 = 2 * confusion.diagonal() / np.maximum(photos + confusion.sum(axis=0), 1)
    return float(f1[photos > 0].mean())


def _class_results(confusion: NDArray[np.int64], labels: Sequence[str]) -> tuple[ClassResult, ...]:
    """Precision, recall and F1 of each class; 0 for a division by zero, as in scikit-learn."""
    right, photos, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(photos, 1)
    f1 = 2 * right / np.maximum(photos + said, 1)
    return tuple(
        ClassResult(label, int(photos[at]), float(precision[at]), float(recall[at]), float(f1[at]))
        for at, label in enumerate(labels)
    )
