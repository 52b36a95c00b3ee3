"""What a check found: problems of photos and of classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trainer.model_card import JSON

Problem = Literal[
    "unreadable", "misnamed", "two_classes", "leak", "duplicate", "mirrored", "label", "outlier", "small", "blurred",
    "empty", "dark", "bright", "grey",
]  # fmt: skip

PROBLEMS: Final[Mapping[Problem, tuple[str, str]]] = {
    "unreadable": ("Cannot be read", "breed train leaves these files out. Replace them, or delete them."),
    "misnamed": (
        "Name of another format",
        "breed train goes by the content, but other programs go by the name. Rename these files.",
    ),
    "two_classes": (
        "Same picture in two classes",
        (
            "One of the two labels is wrong, or the picture shows both. Delete the wrong one. If photos can have "
            "several labels, train with --multi-label; this check knows only one label of each photo."
        ),
    ),
    "leak": (
        "Same picture in two splits",
        "Training photos in validation or test make the accuracy look too high. breed train leaves them out.",
    ),
    "duplicate": ("Same picture twice", "breed train keeps one of each when it splits the photos. Delete the others."),
    "mirrored": (
        "Mirrored copies",
        "breed train uses the mirror image of each photo anyway, and does not leave them out. Delete one of each pair.",
    ),
    "label": (
        "Probably a wrong label",
        (
            "A model that was trained without the photo is sure of another class. The most certain ones come first. "
            "Look at each photo, and move it if its label is wrong."
        ),
    ),
    "outlier": ("Unlike all other photos", "Perhaps they show something else. Delete them if they do."),
    "small": ("Smaller than the input of the model", "They are enlarged, so they are less sharp than other photos."),
    "blurred": ("Blurred", "Delete them, unless the photos of your users are blurred as well."),
    "empty": ("Nearly empty", "The picture is nearly one colour."),
    "dark": ("Very dark", "Delete them, unless the photos of your users are as dark."),
    "bright": ("Very bright", "Delete them, unless the photos of your users are as bright."),
    "grey": ("Without colour", "Most other photos have colour. A model may learn that one class is grey."),
}
"""Title and advice of each problem, in the order of the page."""

ClassProblem = Literal["none", "few", "unbalanced", "inseparable", "alike"]

CLASS_PROBLEMS: Final[Mapping[ClassProblem, str]] = {
    "none": "no photo that can be read",
    "few": "too few photos",
    "unbalanced": "far fewer photos than another class",
    "inseparable": "hardly separable",
    "alike": "alike",
}


@dataclass(frozen=True)
class PhotoFinding:
    """A problem of a photo.

    Attributes:
        problem: Its kind.
        photo: The file.
        label: The label that it has.
        detail: What was found.
        suggested: The label that it should probably have.
        other: Another photo that it is compared with.
    """

    problem: Problem
    photo: Path
    label: str
    detail: str
    suggested: str | None = None
    other: Path | None = None


@dataclass(frozen=True)
class ClassFinding:
    """A problem of a class, or of two classes that are hard to tell apart."""

    problem: ClassProblem
    labels: Sequence[str]
    detail: str


@dataclass(frozen=True)
class Findings:
    """The result of a check.

    Attributes:
        data: Name of the folder.
        counts: Number of readable photos of each label.
        accuracy: Share of the photos that models trained without them classify as their labels say; None if it could
            not be measured.
        photos: Problems of photos, in the order of PROBLEMS; the most serious of each kind first.
        classes: Problems of classes.
        warnings: What is odd about the folders.
    """

    data: str
    counts: Mapping[str, int]
    accuracy: float | None
    photos: Sequence[PhotoFinding]
    classes: Sequence[ClassFinding]
    warnings: Sequence[str]

    def of(self, problem: Problem) -> list[PhotoFinding]:
        """Returns the findings of one kind."""
        return [one for one in self.photos if one.problem == problem]

    def to_json(self) -> dict[str, JSON]:
        """Returns the content of `check.json`."""
        photos = [
            {**dataclasses.asdict(one), "photo": str(one.photo), "other": str(one.other) if one.other else None}
            for one in self.photos
        ]
        return {
            "data": self.data,
            "counts": dict(self.counts),
            "cross_validated_accuracy": self.accuracy,
            "photos": photos,
            "classes": [{**dataclasses.asdict(one), "labels": list(one.labels)} for one in self.classes],
            "warnings": list(self.warnings),
        }
