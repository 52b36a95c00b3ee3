"""Check that a trained model is good enough to replace the previous version."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from trainer.errors import TrainerError
from trainer.evaluation.intervals import Z
from trainer.model_card import Card
from trainer.registry.publish import published_versions

STANDARD_ERRORS = 3.0
"""Number of standard errors by which the accuracies of two versions must differ: for equal versions, one in 700 differs
so much to one side."""


def check_accepted(card: Card, models_dir: Path) -> None:
    """Rejects a model that is no better than guessing, or clearly worse than the newest version of the same classes.

    Args:
        card: Card of the new model, with its figures on validation photos.
        models_dir: Directory of the published models.

    Raises:
        TrainerError: The model is rejected. The message gives the reason and the option to publish it anyway.
    """
    now = _Figure.of(card)
    if now.value - now.chance <= now.error_of_chance:
        guessing = "guessing" if card.multi_label else f"guessing among {len(card.labels)} classes"
        raise _refused(f"{now.text}, and {guessing} gives {now.chance:.1%}")
    before = newest_card(models_dir, card.name)
    if before is None or set(before.labels) != set(card.labels) or "validation" not in before.metrics:
        return
    if before.task != card.task:
        return
    then = _Figure.of(before)
    error = max(math.hypot(now.error, then.error), 1 / min(now.photos, then.photos))
    if then.value - now.value > STANDARD_ERRORS * error:
        raise _refused(
            f"{now.text}, and that of the newest version of {card.name} was {then.value:.1%} on {then.photos}"
        )


def newest_card(models_dir: Path, name: str) -> Card | None:
    """Returns the card of the newest version with a card of this trainer; None if there is none."""
    for version in reversed(published_versions(models_dir, name)):
        try:
            return Card.from_json((models_dir / name / str(version) / "assets.extra/card.json").read_text("utf-8"))
        except (OSError, TrainerError):
            continue
    return None


@dataclass(frozen=True)
class _Figure:
    """How good a model is on validation photos: its accuracy, or the mean average precision of a multi-label model."""

    name: str
    photos: int
    value: float
    chance: float
    error: float
    error_of_chance: float

    @classmethod
    def of(cls, card: Card) -> "_Figure":
        metrics = card.metrics["validation"]
        photos = int(str(metrics["photos"]))
        if card.multi_label:
            low, high = cast("Sequence[float]", metrics["mean_average_precision_interval"])
            error = (high - low) / (2 * Z)
            value, chance = (float(str(metrics[key])) for key in ("mean_average_precision", "label_share"))
            return cls("mean average precision", photos, value, chance, error, error)
        accuracy, chance = float(str(metrics["accuracy"])), 1 / len(card.labels)
        errors = _standard_error(accuracy, photos), _standard_error(chance, photos)
        return cls("accuracy", photos, accuracy, chance, *errors)

    @property
    def text(self) -> str:
        return f"its {self.name} on {self.photos} validation photos is {self.value:.1%}"


def _standard_error(accuracy: float, photos: int) -> float:
    """Standard error of an accuracy."""
    return math.sqrt(accuracy * (1 - accuracy) / photos)


def _refused(reason: str) -> TrainerError:
    return TrainerError(f"the model was not published: {reason}; repeat the command with --force to publish it anyway")
