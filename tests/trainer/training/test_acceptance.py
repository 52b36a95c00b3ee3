"""What is not published, though it was trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.errors import TrainerError
from trainer.model_card import Card
from trainer.training.acceptance import check_accepted

MakeCard = Callable[..., Card]
LABELS = tuple("abcdefghijkl")


def card(make_card: MakeCard, accuracy: float, photos: int = 120, labels: tuple[str, ...] = LABELS) -> Card:
    return make_card(labels, metrics={"validation": {"photos": photos, "accuracy": accuracy}})


def publish(models: Path, version: int, published: Card) -> None:
    extra = models / published.name / str(version) / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "card.json").write_text(published.to_json())


@pytest.mark.parametrize(
    ("accuracy", "photos", "labels"), [(0.083, 120, LABELS), (0.5, 6, ("a", "b")), (0.0, 9, LABELS)]
)
def test_what_is_no_better_than_guessing_is_refused(
    accuracy: float, photos: int, labels: tuple[str, ...], make_card: MakeCard, tmp_path: Path
) -> None:
    with pytest.raises(TrainerError, match=r"not published: its accuracy on .* guessing among .* with --force"):
        check_accepted(card(make_card, accuracy, photos, labels), tmp_path)


@pytest.mark.parametrize(
    ("accuracy", "photos", "labels"), [(0.2, 120, LABELS), (1.0, 2, ("a", "b")), (0.9, 6, ("a", "b"))]
)
def test_what_learned_something_is_accepted_where_there_is_nothing_yet(
    accuracy: float, photos: int, labels: tuple[str, ...], make_card: MakeCard, tmp_path: Path
) -> None:
    check_accepted(card(make_card, accuracy, photos, labels), tmp_path)


def test_a_model_clearly_worse_than_the_newest_version_is_refused(make_card: MakeCard, tmp_path: Path) -> None:
    publish(tmp_path, 1, card(make_card, 0.2))
    publish(tmp_path, 3, card(make_card, 0.992))
    with pytest.raises(TrainerError, match=r"newest version of small was 99\.2% on 120"):
        check_accepted(card(make_card, 0.9), tmp_path)
    check_accepted(card(make_card, 0.97), tmp_path)  # as far apart as two fits of one model may be


def test_a_model_of_other_classes_is_not_compared(make_card: MakeCard, tmp_path: Path) -> None:
    publish(tmp_path, 1, card(make_card, 0.992))
    check_accepted(card(make_card, 0.8, labels=("a", "b", "c")), tmp_path)


def test_a_version_from_elsewhere_has_no_card_and_is_passed_over(make_card: MakeCard, tmp_path: Path) -> None:
    publish(tmp_path, 1, card(make_card, 0.992))
    (tmp_path / "small" / "2").mkdir()
    with pytest.raises(TrainerError, match="newest version"):
        check_accepted(card(make_card, 0.5), tmp_path)
