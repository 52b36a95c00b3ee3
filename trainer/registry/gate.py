"""Conditions that a version must meet before a label moves to it."""

import dataclasses
import statistics
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.console import say
from trainer.errors import TrainerError
from trainer.evaluation.comparison import Comparison


@dataclass(frozen=True)
class Gate:
    """The conditions. Those that are None are not checked.

    Attributes:
        photos: Folders of photos by class, on which both versions are compared.
        min_photos: Minimum number of photos of classes that both versions have.
        max_accuracy_loss: The accuracy must not be lower than that of the old version by more than this, from 0 to 1,
            with `confidence`.
        confidence: Probability with which the accuracy loss must be within its limit.
        max_class_loss: The accuracy on no class must be lower by more than this, from 0 to 1.
        max_latency_ratio: Maximum time of a call with one photo, divided by that of the old version.
        min_accuracy: At least this accuracy on all photos. It also holds where there is no old version.
        against: Label of the old version; by default the label that is to move.
    """

    photos: tuple[Path, ...]
    min_photos: int = 100
    max_accuracy_loss: float | None = 0.01
    confidence: float = 0.95
    max_class_loss: float | None = None
    max_latency_ratio: float | None = None
    min_accuracy: float | None = None
    against: str | None = None


def read_gate(path: Path) -> Gate:
    """Reads a gate from a TOML file. Paths in it are relative to the file.

    Raises:
        TrainerError: The file cannot be read, or has an unknown key or a value that cannot be.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"cannot read the gate {path}: {error}") from error
    types = typing.get_type_hints(Gate)
    for key in table:
        if key not in types:
            raise TrainerError(f"{path}: unknown key {key!r}; the keys are {', '.join(types)}")
    photos = table.pop("photos", None)
    if isinstance(photos, str):
        photos = [photos]
    if not isinstance(photos, list) or not photos or not all(isinstance(one, str) for one in photos):
        raise TrainerError(f"{path}: photos must be a folder or a list of folders")
    limits = {
        "min_photos": (1, 10**9), "max_accuracy_loss": (0, 1), "confidence": (0.5, 0.9999), "max_class_loss": (0, 1),
        "max_latency_ratio": (0.01, 1000), "min_accuracy": (0, 1),
    }  # fmt: skip
    for key, value in table.items():
        if key == "against":
            if not isinstance(value, str):
                raise TrainerError(f"{path}: against must be a label, not {value!r}")
        elif type(value) not in (int, float) or not limits[key][0] <= value <= limits[key][1]:
            low, high = limits[key]
            raise TrainerError(f"{path}: {key} must be a number from {low:g} to {high:g}, not {value!r}")
    return Gate(photos=tuple(path.parent / one for one in photos), **table)


def pass_gate(
    path: Path, models_dir: Path, name: str, version: int, label: str, labels: Mapping[str, int], *, force: bool
) -> list[str]:
    """Checks whether a label may move to a version, and says what was found.

    Args:
        path: The gate.
        models_dir: Directory of the published models.
        name: Name of the model.
        version: The new version.
        label: The label that is to move.
        labels: The version of each label now.
        force: Let the version pass in any case.

    Returns:
        The reasons that `force` overrides.

    Raises:
        TrainerError: The gate refuses the version, and the message has all reasons; or the label that it compares with
            does not exist.
    """
    gate = read_gate(path)
    if gate.against is not None and gate.against not in (label, *labels):
        present = ", ".join(sorted(labels)) or "none"
        raise TrainerError(f"{path}: {name} has no label {gate.against!r} to compare with; labels: {present}")
    before = labels.get(gate.against or label)
    reasons = check(gate, models_dir, name, version, before)
    compared = f"{name} version {version}, compared with {'nothing' if before is None else f'version {before}'}"
    if not reasons:
        say(f"{path}: {compared}, meets all conditions")
        return []
    listed = "".join(f"\n- {reason}" for reason in reasons)
    if not force:
        raise TrainerError(
            f"no label was moved: {path} refuses {compared}:{listed}\nuse --force to move the label anyway"
        )
    say(f"{path} refuses {compared}, and --force overrides it:{listed}")
    return reasons


def check(gate: Gate, models_dir: Path, name: str, version: int, before: int | None) -> list[str]:
    """Compares a version with the old one on the photos of the gate.

    Args:
        gate: The conditions.
        models_dir: Directory of the published models.
        name: Name of the model.
        version: The new version.
        before: The old version; without one, only `min_photos` and `min_accuracy` are checked.

    Returns:
        The reasons against the new version; see `refusals`.

    Raises:
        TrainerError: A version or a folder cannot be used.
    """
    from trainer.evaluation.compare import SECONDS, compare

    if before is None:
        gate = dataclasses.replace(gate, max_accuracy_loss=None, max_class_loss=None, max_latency_ratio=None)
    old, new = (models_dir / name / str(one) for one in (before or version, version))
    comparison = compare(old, new, gate.photos, seconds=SECONDS if gate.max_latency_ratio is not None else 0)
    return refusals(gate, comparison)


def refusals(gate: Gate, comparison: Comparison) -> list[str]:
    """Returns the reasons against the second version of a comparison, a sentence each; none if it passes.

    Accuracy is compared on classes that both versions have, so that a new class counts neither for nor against it. A
    class that the new version does not have counts as lost.
    """
    right = comparison.right_on_common
    reasons = []
    if right.photos < gate.min_photos:
        reasons.append(
            f"there are {right.photos} photos of classes that both versions have, fewer than {gate.min_photos}"
        )
    if gate.min_accuracy is not None and comparison.right.second < gate.min_accuracy:
        reasons.append(f"its accuracy is {comparison.right.second:.1%}, less than {gate.min_accuracy:.1%}")
    if gate.max_accuracy_loss is not None and right.photos:
        low, _ = right.interval(statistics.NormalDist().inv_cdf(gate.confidence))
        if low < -gate.max_accuracy_loss:
            reasons.append(
                f"its accuracy on {right.photos} photos is {right.second:.1%}, and {right.first:.1%} before: with a "
                f"confidence of {gate.confidence:.0%}, only a loss of more than {_points(-low)} can be ruled out, and "
                f"{_points(gate.max_accuracy_loss)} are allowed{_hint(right.difference, gate.max_accuracy_loss)}"
            )
    if gate.max_class_loss is not None:
        reasons += [
            f"its accuracy on class {group.name!r} fell from {group.right.first:.1%} to {group.right.second:.1%}, on "
            f"{group.right.photos} photos; {_points(gate.max_class_loss)} are allowed"
            for group in comparison.classes
            if group.knows != "B" and group.right.difference < -gate.max_class_loss - 1e-9
        ]
    if gate.max_latency_ratio is not None and comparison.a.speed and comparison.b.speed:
        before, now = comparison.a.speed.one_ms, comparison.b.speed.one_ms
        if now > before * gate.max_latency_ratio:
            reasons.append(
                f"a call with one photo takes {now:.1f} ms, and {before:.1f} ms before: {now / before:.2f} times as "
                f"long, and {gate.max_latency_ratio:g} is allowed"
            )
    return reasons


def _points(share: float) -> str:
    return f"{100 * share:.1f} percentage points"


def _hint(difference: float, allowed: float) -> str:
    return "; more photos may decide" if difference >= -allowed else ""
