from collections.abc import Callable

import numpy as np
import pytest

from gateway.observability.answer_metrics import Baseline
from trainer.evaluation.baseline import baseline
from trainer.model_card import Card

MakeCard = Callable[..., Card]


def test_shares_of_labels_and_of_unknown_photos_sum_to_one(make_card: MakeCard) -> None:
    card = make_card(("cat", "dog", "fox"), other_labels=(None,), unknown_threshold=0.5)
    probabilities = np.array(
        [[0.9, 0.05, 0.0, 0.05], [0.1, 0.7, 0.1, 0.1], [0.6, 0.1, 0.1, 0.2], [0.2, 0.1, 0.0, 0.7]], np.float64
    )
    shares = baseline(card, probabilities)
    assert shares["photos"] == 4
    assert shares["labels"] == pytest.approx({"cat": 0.5, "dog": 0.25, "fox": 0})
    assert shares["unknown"] == pytest.approx(0.25)
    assert shares["confidence"] == pytest.approx([0, 0.25, 0, 0, 0, 0.25, 0.25, 0, 0.25, 0])
    assert Baseline.model_validate(shares).photos == 4  # the gateway reads it


def test_a_model_without_threshold_has_no_unknown_photos(make_card: MakeCard) -> None:
    shares = baseline(make_card(("cat", "dog"), unknown_threshold=None), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert (shares["unknown"], shares["labels"]) == (0, {"cat": 0.5, "dog": 0.5})
