"""Check that a trained model is good enough to replace the previous version."""

import math
from pathlib import Path

from trainer.errors import TrainerError
from trainer.model_card import Card
from trainer.registry.publish import published_versions

STANDARD_ERRORS = 3.0
"""Number of standard errors by which the accuracies of two versions must differ: for equal versions, one in 700 differs
so much to one side."""


def check_accepted(card: Card, models_dir: Path) -> None:
    """Rejects a model that is no better than guessing, or clearly worse than the newest version of the same classes.

    Args:
        card: Card of the new model, with its accuracy on validation photos.
        models_dir: Directory of the published models.

    Raises:
        TrainerError: The model is rejected. The message gives the reason and the option to publish it anyway.
    """
    photos, accuracy = _validation(card)
    chance = 1 / len(card.labels)
    if accuracy - chance <= _standard_error(chance, photos):
        raise _refused(
            f"its accuracy on {photos} validation photos is {accuracy:.1%}, and guessing among {len(card.labels)} "
            f"classes gives {chance:.1%}"
        )
    before = newest_card(models_dir, card.name)
    if before is None or set(before.labels) != set(card.labels) or "validation" not in before.metrics:
        return
    photos_before, accuracy_before = _validation(before)
    error = math.hypot(_standard_error(accuracy, photos), _standard_error(accuracy_before, photos_before))
    if accuracy_before - accuracy > STANDARD_ERRORS * max(error, 1 / min(photos, photos_before)):
        raise _refused(
            f"its accuracy on {photos} validation photos is {accuracy:.1%}, and that of the newest version of "
            f"{card.name} was {accuracy_before:.1%} on {photos_before}"
        )


def newest_card(models_dir: Path, name: str) -> Card | None:
    """Returns the card of the newest version with a card of this trainer; None if there is none."""
    for version in reversed(published_versions(models_dir, name)):
        try:
            return Card.from_json((models_dir / name / str(version) / "assets.extra/card.json").read_text("utf-8"))
        except (OSError, TrainerError):
            continue
    return None


def _validation(card: Card) -> tuple[int, float]:
    found = card.metrics["validation"]
    return int(str(found["photos"])), float(str(found["accuracy"]))


def _standard_error(accuracy: float, photos: int) -> float:
    """Standard error of an accuracy."""
    return math.sqrt(accuracy * (1 - accuracy) / photos)


def _refused(reason: str) -> TrainerError:
    return TrainerError(f"the model was not published: {reason}; repeat the command with --force to publish it anyway")
