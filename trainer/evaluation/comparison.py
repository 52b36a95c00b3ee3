"""Compare the answers of two versions to the same photos."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import calibrate
from trainer.evaluation.intervals import Interval, Paired, bootstrap_interval, wilson_interval
from trainer.evaluation.metrics import Answer
from trainer.model_card import JSON, Card

SIGNIFICANT = 0.05
"""A difference with a p-value below this is called significant."""

Knows = Literal["both", "A", "B"]
"""Which of the versions has a class."""


@dataclass(frozen=True)
class Speed:
    """Median time of a call with one photo, and of a batch for each photo of it, in milliseconds."""

    one_ms: float
    batch_ms: float
    batch_size: int


@dataclass(frozen=True)
class Version:
    """A version: its card, its folder, the size of its files in bytes, and its speed if it was measured."""

    card: Card
    path: Path
    bytes: int
    speed: Speed | None = None

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.card.name} {self.path.name}"


@dataclass(frozen=True)
class Prediction:
    """The answer of a version to one photo: best label and score, the score of the true label, whether it is known."""

    label: str
    score: float
    true_score: float
    known: bool

    @classmethod
    def of(cls, answer: Answer, card: Card, true: str | None) -> "Prediction":
        """Reads an answer with probabilities; `true` is None for a photo of another thing."""
        assert answer.probabilities is not None
        best = int(answer.probabilities.argmax())
        true_score = float(answer.probabilities[card.labels.index(true)]) if true in card.labels else 0.0
        is_known = card.unknown_threshold is None or answer.known_score >= card.unknown_threshold
        return cls(card.labels[best], float(answer.probabilities[best]), true_score, is_known)


@dataclass(frozen=True)
class Row:
    """A photo with its true label, the answers of both versions, and the slices that it belongs to."""

    path: Path
    true: str
    a: Prediction
    b: Prediction
    slices: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether A and B are right."""
        return self.a.label == self.true, self.b.label == self.true


@dataclass(frozen=True)
class Group:
    """The photos of a class or of a slice: how often each version is right on them."""

    name: str
    right: Paired
    knows: Knows = "both"

    def to_json(self) -> dict[str, JSON]:
        """Returns the group as in `comparison.json`."""
        return {"name": self.name, "known_to": self.knows, **paired_json(self.right)}


@dataclass(frozen=True)
class Comparison:
    """Two versions, A and B, on the same photos.

    Attributes:
        a: The first version, usually the older one.
        b: The second version.
        data: Names of the folders.
        rows: The photos.
        others: Answers of A and B to photos of other things.
        unreadable: A line for each file that cannot be read.
    """

    a: Version
    b: Version
    data: Sequence[str]
    rows: Sequence[Row]
    others: Sequence[tuple[Prediction, Prediction]] = ()
    unreadable: Sequence[str] = ()

    @cached_property
    def right(self) -> Paired:
        """How often each is right. A class that a version does not have counts as wrong."""
        return _paired(self.rows)

    @cached_property
    def right_on_common(self) -> Paired:
        """How often each is right on photos of classes that both have."""
        return _paired([row for row in self.rows if self._knows(row.true) == "both"])

    @cached_property
    def known(self) -> Paired:
        """How often each calls a photo of its classes known, on photos of classes that both have."""
        rows = [row for row in self.rows if self._knows(row.true) == "both"]
        return Paired.of(np.array([row.a.known for row in rows], bool), np.array([row.b.known for row in rows], bool))

    @cached_property
    def others_unknown(self) -> Paired:
        """How often each calls a photo of another thing unknown."""
        return Paired.of(
            np.array([not a.known for a, _ in self.others], bool), np.array([not b.known for _, b in self.others], bool)
        )

    @cached_property
    def disagreement(self) -> tuple[int, int]:
        """On how many photos the best labels differ, and of how many."""
        return sum(row.a.label != row.b.label for row in self.rows), len(self.rows)

    @cached_property
    def classes(self) -> list[Group]:
        """The classes that have photos, largest loss first."""
        groups = [Group(name, _paired(rows), self._knows(name)) for name, rows in _by(self.rows, None).items()]
        return sorted(groups, key=lambda group: (group.right.difference, group.name))

    @cached_property
    def slices(self) -> dict[str, list[Group]]:
        """The groups of each slice of which there are at least two."""
        names = sorted({name for row in self.rows for name in row.slices})
        by_name = {
            name: [Group(value, _paired(rows)) for value, rows in _by(self.rows, name).items()] for name in names
        }
        return {name: groups for name, groups in by_name.items() if len(groups) > 1}

    @cached_property
    def reliability(self) -> tuple[calibrate.Reliability, calibrate.Reliability]:
        """The reliability diagrams of A and B."""
        right = np.array([row.right for row in self.rows], bool)
        sure = self._scores
        return calibrate.reliability(sure[:, 0], right[:, 0]), calibrate.reliability(sure[:, 1], right[:, 1])

    @cached_property
    def calibration_change(self) -> tuple[float, Interval]:
        """The expected calibration error of B minus that of A, with its 95 % interval over resampled photos."""
        table = np.column_stack([self._scores, np.array([row.right for row in self.rows], float)])

        def change(rows: NDArray[np.float64]) -> float:
            a, b = (calibrate.reliability(rows[:, at], rows[:, 2 + at] > 0) for at in (0, 1))
            return b.expected_calibration_error - a.expected_calibration_error

        return change(table), bootstrap_interval(change, table)

    @cached_property
    def _scores(self) -> NDArray[np.float64]:
        return np.array([(row.a.score, row.b.score) for row in self.rows], np.float64)

    def flipped(self, *, better: bool) -> list[Row]:
        """Returns the photos on which only B is right, or only A; those with the most confident mistake first."""
        rows = [row for row in self.rows if row.right == ((False, True) if better else (True, False))]
        return sorted(rows, key=lambda row: -(row.a.score if better else row.b.score))

    def _knows(self, label: str) -> Knows:
        a, b = label in self.a.card.labels, label in self.b.card.labels
        return "both" if a and b else "A" if a else "B"

    def verdict(self) -> str:
        """Returns one sentence: which is better on the classes that both have, and whether it may be chance."""
        right, p = self.right_on_common, self.right_on_common.p_value()
        if not right.better and not right.worse:
            return f"On the {right.photos} photos of classes that both have, both are right on the same photos."
        low, high = right.interval()
        text = (
            f"On {right.photos} photos of classes that both have, B is right on {right.better} that A gets wrong, and "
            f"wrong on {right.worse} that A gets right: {100 * right.difference:+.1f} percentage points of accuracy "
            f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f})."
        )
        if p >= SIGNIFICANT:
            return f"{text} This may be chance (McNemar's exact test, p = {p:.2g})."
        return f"{text} B is {'better' if right.difference > 0 else 'worse'} (McNemar's exact test, p = {p:.2g})."

    def to_json(self) -> dict[str, JSON]:
        """Returns the content of `comparison.json`."""
        change, interval = self.calibration_change
        differ, photos = self.disagreement
        return {
            "a": _version_json(self.a, self.reliability[0]),
            "b": _version_json(self.b, self.reliability[1]),
            "data": list(self.data),
            "verdict": self.verdict(),
            "accuracy": paired_json(self.right),
            "accuracy_on_common_classes": paired_json(self.right_on_common),
            "calibration_error_change": {"difference": change, "interval": list(interval)},
            "known": paired_json(self.known),
            "others_unknown": paired_json(self.others_unknown) if self.others else None,
            "disagreement": {
                "photos": photos,
                "differ": differ,
                "share": differ / photos,
                "interval": list(wilson_interval(differ, photos)),
            },
            "classes": [group.to_json() for group in self.classes],
            "slices": {name: [group.to_json() for group in groups] for name, groups in self.slices.items()},
            "better": [_row_json(row) for row in self.flipped(better=True)],
            "worse": [_row_json(row) for row in self.flipped(better=False)],
            "unreadable": list(self.unreadable),
        }


def paired_json(right: Paired) -> dict[str, JSON]:
    """Returns shares, their difference with its 95 % interval, and the p-value of McNemar's exact test."""
    if not right.photos:
        return {"photos": 0}
    first, second = right.both + right.worse, right.both + right.better
    return {
        "photos": right.photos,
        "a": right.first,
        "a_interval": list(wilson_interval(first, right.photos)),
        "b": right.second,
        "b_interval": list(wilson_interval(second, right.photos)),
        "better": right.better,
        "worse": right.worse,
        "difference": right.difference,
        "difference_interval": list(right.interval()),
        "mcnemar_p": right.p_value(),
    }


def _paired(rows: Sequence[Row]) -> Paired:
    right = np.array([row.right for row in rows], bool).reshape(-1, 2)
    return Paired.of(right[:, 0], right[:, 1])


def _by(rows: Sequence[Row], name: str | None) -> dict[str, list[Row]]:
    """The rows by the value of a slice, or by class for None, in the order of the values."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        value = row.true if name is None else row.slices.get(name)
        if value is not None:
            groups.setdefault(value, []).append(row)
    return dict(sorted(groups.items()))


def _version_json(version: Version, reliability: calibrate.Reliability) -> dict[str, JSON]:
    card = version.card
    return {
        "name": card.name,
        "path": str(version.path),
        "created": card.created,
        "backbone": card.backbone.name,
        "precision": card.precision,
        "labels": list(card.labels),
        "bytes": version.bytes,
        "speed": dataclasses.asdict(version.speed) if version.speed else None,
        "expected_calibration_error": reliability.expected_calibration_error,
        "unknown_threshold": card.unknown_threshold,
    }


def _row_json(row: Row) -> dict[str, JSON]:
    return {
        "photo": str(row.path),
        "true": row.true,
        "a": dataclasses.asdict(row.a),
        "b": dataclasses.asdict(row.b),
        "slices": dict(row.slices),
    }
