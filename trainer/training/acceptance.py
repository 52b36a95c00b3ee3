"""Whether a trained model is good enough to take the place of the one before."""

import math
from pathlib import Path

from trainer.errors import TrainerError
from trainer.model_card import Card
from trainer.registry.publish import published_versions

STANDARD_ERRORS = 3.0
"""By how many the accuracies of two versions must differ to be no accident: 1 in 700 on one side if they are equal."""


def check_accepted(card: Card, models_dir: Path) -> None:
    """Refuses a model that learned nothing, or that is clearly worse than the newest version of the same classes.

    Args:
        card: Of the new model, with its accuracy on validation photos.
        models_dir: Where versions are published.

    Raises:
        TrainerError: It is refused; the message says why and how to publish it all the same.
    """
    photos, accuracy = _validation(card)
    chance = 1 / len(card.labels)
    if accuracy - chance <= _standard_error(chance, photos):
        raise _refused(
            f"it is right on {accuracy:.1%} of {photos} validation photos, and guessing among {len(card.labels)} "
            f"classes on {chance:.1%}"
        )
    before = newest_card(models_dir, card.name)
    if before is None or set(before.labels) != set(card.labels) or "validation" not in before.metrics:
        return
    photos_before, accuracy_before = _validation(before)
    error = math.hypot(_standard_error(accuracy, photos), _standard_error(accuracy_before, photos_before))
    if accuracy_before - accuracy > STANDARD_ERRORS * max(error, 1 / min(photos, photos_before)):
        raise _refused(
            f"it is right on {accuracy:.1%} of {photos} validation photos, and the newest version of {card.name} was "
            f"on {accuracy_before:.1%} of {photos_before}"
        )


def newest_card(models_dir: Path, name: str) -> Card | None:
    """Returns the card of the newest version that was exported by this trainer; None where there is none."""
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
    """Of a share that was counted on so many photos."""
    return math.sqrt(accuracy * (1 - accuracy) / photos)


def _refused(reason: str) -> TrainerError:
    return TrainerError(
        f"the model is not published: {reason}; the same command with --force publishes it all the same"
    )
