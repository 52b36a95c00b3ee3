"""The results of an evaluation of a multi-label model: overall, for each label, and the worst mistakes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.quality import Quality
from trainer.errors import TrainerError
from trainer.evaluation.intervals import Interval, wilson_interval
from trainer.evaluation.metrics import HISTOGRAM_BINS, Answer
from trainer.evaluation.multi_label import average_precisions, f1_score, mean, mean_average_precision_interval
from trainer.model_card import JSON, Card

WORST_SHOWN: Final = 24


@dataclass(frozen=True)
class LabelResult:
    """The metrics of a label.

    Attributes:
        label: The label.
        photos: Number of photos that have it.
        threshold: Score from which a photo gets it.
        average_precision: See `multi_label.average_precisions`; None if no photo has the label.
        precision: Share of the photos that get the label that have it; 0 if none gets it.
        recall: Share of the photos with the label that get it; 0 if none has it.
        f1: Harmonic mean of both.
        with_label: Histogram of the scores of photos that have the label, with HISTOGRAM_BINS bins.
        without_label: Histogram of the other photos.
    """

    label: str
    photos: int
    threshold: float
    average_precision: float | None
    precision: float
    recall: float
    f1: float
    with_label: tuple[int, ...]
    without_label: tuple[int, ...]


@dataclass(frozen=True)
class LabelsMistake:
    """A photo that does not get exactly its labels.

    `missing` are its labels that it does not get, with their scores; `wrong` those that it gets and does not have.
    """

    path: Path
    true: tuple[str, ...]
    missing: tuple[tuple[str, float], ...]
    wrong: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """The results. Rates are from 0 to 1.

    Attributes:
        card: Model card.
        model: Folder of the version.
        signature: The signature that was called.
        data: Name of the photos.
        photos: Number of photos.
        mean_average_precision: Mean over the labels that some photo has.
        micro_f1: F1 of all labels of all photos together.
        exact_labels: Share of the photos that get exactly their labels.
        without_labels: Share of the photos that get no label.
        labels: The metrics of each label.
        worst: Photos with the most certain mistakes.
        unreadable: A line for each file that cannot be read.
        others: Number of photos of other things, which have none of the labels.
        others_labelled: Share of them that get a label; None without such photos.
        intervals: 95 % intervals of figures by their names.
    """

    card: Card
    model: Path
    signature: str
    data: str
    photos: int
    mean_average_precision: float
    micro_f1: float
    exact_labels: float
    without_labels: float
    labels: tuple[LabelResult, ...]
    worst: tuple[LabelsMistake, ...]
    unreadable: tuple[str, ...]
    others: int
    others_labelled: float | None
    intervals: Mapping[str, Interval]

    def to_json(self) -> dict[str, JSON]:
        """Returns the content of `evaluation.json`."""
        return {
            "model": {"name": self.card.name, "path": str(self.model), "created": self.card.created},
            "task": self.card.task,
            "signature": self.signature,
            "data": self.data,
            "photos": self.photos,
            "mean_average_precision": self.mean_average_precision,
            "micro_f1": self.micro_f1,
            "exact_labels": self.exact_labels,
            "without_labels": self.without_labels,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "others": self.others,
            "others_labelled": self.others_labelled,
            "labels": [dataclasses.asdict(one) for one in self.labels],
            "worst": [{**dataclasses.asdict(one), "path": str(one.path)} for one in self.worst],
            "unreadable": list(self.unreadable),
        }

    def summary(self) -> str:
        """Returns the most important metrics as a line, and a line for each label."""

        def interval(name: str) -> str:
            return " [{:.3f}, {:.3f}]".format(*self.intervals[name])

        line = (
            f"{self.photos} photos: mean average precision {self.mean_average_precision:.3f}"
            f"{interval('mean_average_precision')}, micro F1 {self.micro_f1:.3f}, exactly the right labels "
            f"{self.exact_labels:.3f}{interval('exact_labels')}; in brackets 95 % intervals"
        )
        lines = [line]
        for row in self.labels:
            precision = "unknown" if row.average_precision is None else f"{row.average_precision:.3f}"
            lines.append(
                f"  {row.label}: {row.photos} photos, average precision {precision}; from a score of "
                f"{row.threshold:.3f}, precision {row.precision:.3f}, recall {row.recall:.3f}, F1 {row.f1:.3f}"
            )
        if self.others_labelled is not None:
            lines.append(f"{self.others} photos of other things: {self.others_labelled:.3f} of them get a label")
        if self.unreadable:
            lines.append(f"skipped {len(self.unreadable)} files that cannot be read, such as {self.unreadable[0]}")
        return "\n".join(lines)


class MultiLabelTally:
    """Accumulates the answers of a multi-label model; it keeps the scores of each photo."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._scores: list[NDArray[np.float32]] = []
        self._truth: list[tuple[int, ...]] = []
        self._others: list[NDArray[np.float32]] = []
        self._unreadable: list[str] = []

    def add(self, answer: Answer, truth: tuple[int, ...], measured: Quality | None = None) -> None:  # noqa: ARG002
        """Counts the answer to a photo with these labels."""
        if answer.probabilities is None:
            self._unreadable.append(answer.unread)
            return
        self._paths.append(answer.path)
        self._scores.append(answer.probabilities)
        self._truth.append(truth)

    def add_stranger(self, answer: Answer) -> None:
        """Counts the answer to a photo of another thing."""
        if answer.probabilities is None:
            self._unreadable.append(answer.unread)
        else:
            self._others.append(answer.probabilities)

    def evaluation(self, card: Card, model: Path, data: str, signature: str = "pixels") -> MultiLabelEvaluation:
        """Returns the results for all answers.

        Raises:
            TrainerError: No photo could be read.
        """
        if not self._scores:
            raise TrainerError(f"no photo in {data} can be read: {self._unreadable[0]}")
        scores = np.stack(self._scores)
        targets = np.zeros(scores.shape, bool)
        for row, truth in zip(targets, self._truth, strict=True):
            row[list(truth)] = True
        predicted = card.predicted_labels(scores)
        exact = (predicted == targets).all(axis=1)
        precisions = average_precisions(scores, targets)
        others = [bool(card.predicted_labels(row).any()) for row in self._others]
        return MultiLabelEvaluation(
            card=card,
            model=model,
            signature=signature,
            data=data,
            photos=len(scores),
            mean_average_precision=mean(precisions),
            micro_f1=f1_score(predicted, targets),
            exact_labels=float(exact.mean()),
            without_labels=float((~predicted.any(axis=1)).mean()),
            labels=tuple(
                _label_result(card, at, precision, scores[:, at], predicted[:, at], targets[:, at])
                for at, precision in enumerate(precisions)
            ),
            worst=tuple(self._worst(card, scores, predicted, targets)),
            unreadable=tuple(self._unreadable),
            others=len(others),
            others_labelled=float(np.mean(others)) if others else None,
            intervals={
                "mean_average_precision": mean_average_precision_interval(scores, targets),
                "exact_labels": wilson_interval(int(exact.sum()), len(exact)),
            },
        )

    def _worst(
        self, card: Card, scores: NDArray[np.float32], predicted: NDArray[np.bool_], targets: NDArray[np.bool_]
    ) -> list[LabelsMistake]:
        """Photos with mistakes, those first that have a score farthest on the wrong side of its threshold."""
        labels, thresholds = card.labels, np.asarray(card.thresholds)
        distance = np.where(predicted != targets, np.abs(scores - thresholds), -1).max(axis=1)
        order = [int(at) for at in np.argsort(-distance, kind="stable") if distance[at] >= 0]

        def scored(row: int, mask: NDArray[np.bool_]) -> tuple[tuple[str, float], ...]:
            return tuple((labels[at], float(scores[row, at])) for at in np.flatnonzero(mask).tolist())

        return [
            LabelsMistake(
                self._paths[row],
                tuple(labels[at] for at in np.flatnonzero(targets[row]).tolist()),
                missing=scored(row, targets[row] & ~predicted[row]),
                wrong=scored(row, predicted[row] & ~targets[row]),
            )
            for row in order[:WORST_SHOWN]
        ]


def _label_result(
    card: Card,
    at: int,
    precision: float | None,
    scores: NDArray[np.float32],
    predicted: NDArray[np.bool_],
    targets: NDArray[np.bool_],
) -> LabelResult:
    right, got, having = int((predicted & targets).sum()), int(predicted.sum()), int(targets.sum())
    return LabelResult(
        label=card.labels[at],
        photos=having,
        threshold=card.thresholds[at],
        average_precision=precision,
        precision=right / max(got, 1),
        recall=right / max(having, 1),
        f1=2 * right / max(got + having, 1),
        with_label=_histogram(scores[targets]),
        without_label=_histogram(scores[~targets]),
    )


def _histogram(scores: Sequence[float] | NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(np.histogram(scores, HISTOGRAM_BINS, (0.0, 1.0))[0].tolist())
