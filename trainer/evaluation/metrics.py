"""What is measured of a model: figures of the whole, of each class, the worst mistakes, and the unknown."""

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
    """What a model said of one photo: probabilities float32 (labels), or why the photo could not be read.

    Of a class that `serving_default` did not name, for it names the best five, the probability stands as 0. `known` is
    what the card's threshold for "unknown" is compared with.
    """

    path: Path
    probabilities: NDArray[np.float32] | None
    error: str = ""
    known: float = 0.0


@dataclass(frozen=True)
class ClassResult:
    """One class: of its photos, how many were found (recall); of the answers that named it, how many were right."""

    label: str
    photos: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Mistake:
    """A photo whose best answer was wrong: what was said and how surely, what was true and what score that got."""

    path: Path
    said: str
    confidence: float
    true: str
    true_score: float


@dataclass(frozen=True)
class Unknown:
    """How well `known`, which is the sum of the labels' scores or the best of them, tells known from other things.

    `false_unknown_rate` is the share of known photos under the threshold, `false_known_rate` that of other things over
    it; both are None when the model has no threshold. The counts are of `known`, in HISTOGRAM_BINS of equal width.
    """

    photos: int
    auroc: float
    false_unknown_rate: float | None
    false_known_rate: float | None
    known_counts: tuple[int, ...]
    unknown_counts: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """What was measured; rates are 0 to 1.

    `signature` is what the photos were answered through. `macro_f1` is the mean over the classes that
    have photos here. `confusion` is int64 (classes, classes), a row for each true class, a column for each answer.
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
        """Returns the figures, without pictures, as they are written to `evaluation.json`."""
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
    """Counts answers as they come; of a photo it keeps a few numbers, of the worst mistakes the path."""

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
        # Ranked by how many classes score higher, which is top_k's order whatever it does with ties.
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
        """Counts the answer to a photo of something else."""
        if answer.probabilities is None:
            self._add_unreadable(answer)
        else:
            self.strangers.append(answer.known)

    def _add_unreadable(self, answer: Answer) -> None:
        self.unreadable.append(f"{answer.path.parent.name}/{answer.path.name}: {answer.error}")

    def evaluation(self, card: Card, model: Path, data: str, signature: str = "pixels") -> Evaluation:
        """Returns what all the answers come to.

        Raises:
            TrainerError: Not one photo of a known class could be read.
        """
        if not self.right:
            raise TrainerError(f"none of the photos of {data} could be read: {self.unreadable[0]}")
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
    """Precision, recall and F1 of each class; 0 where nothing was there to be right about, as scikit-learn has it."""
    right, photos, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(photos, 1)
    f1 = 2 * right / np.maximum(photos + said, 1)
    return tuple(
        ClassResult(label, int(photos[at]), float(precision[at]), float(recall[at]), float(f1[at]))
        for at, label in enumerate(labels)
    )
