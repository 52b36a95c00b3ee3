from __future__ import annotations

import pytest

from bench.agreement import Disagreement, check_predictions, check_scores, predictions_of

LABELS = ("beagle", "boxer", "pug")
SCORES = (0.2, 0.7, 0.1)


def ranked(*pairs: tuple[str, float]) -> list[dict[str, object]]:
    return [{"label": label, "score": score} for label, score in pairs]


def test_the_same_answers_agree_within_what_batching_changes() -> None:
    check_scores("one", 0, SCORES, (0.20001, 0.7, 0.1))
    check_predictions("one", 0, LABELS, SCORES, ranked(("boxer", 0.7), ("beagle", 0.200001)))


def test_near_ties_may_stand_in_either_order() -> None:
    check_predictions("one", 0, LABELS, (0.4, 0.400001, 0.2), ranked(("beagle", 0.4), ("boxer", 0.4)))


@pytest.mark.parametrize(
    "predictions",
    [
        ranked(("boxer", 0.71)),
        ranked(("beagle", 0.7)),
        ranked(("beagle", 0.2)),
        ranked(("poodle", 0.7)),
        ranked(("boxer", 0.7), ("pug", 0.1)),
        [],
    ],
    ids=["another score", "another label", "not the best", "unknown label", "second left out", "nothing"],
)
def test_another_answer_is_a_disagreement(predictions: list[dict[str, object]]) -> None:
    with pytest.raises(Disagreement):
        check_predictions("one", 0, LABELS, SCORES, predictions)


def test_other_scores_and_other_numbers_of_classes_are_disagreements() -> None:
    with pytest.raises(Disagreement):
        check_scores("one", 0, SCORES, (0.2, 0.6, 0.2))
    with pytest.raises(Disagreement):
        check_scores("one", 0, SCORES, (0.2, 0.8))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"breed": "boxer"}', b"<html>"])
def test_a_body_without_predictions_is_a_disagreement(body: bytes) -> None:
    with pytest.raises(Disagreement):
        predictions_of(body)
