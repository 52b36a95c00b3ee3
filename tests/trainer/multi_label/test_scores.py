"""Average precision, temperature, thresholds and the head of multi-label models."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from trainer.evaluation.multi_label import (
    MultiLabelCalibration,
    average_precisions,
    best_thresholds,
    mean,
    sigmoid,
)
from trainer.training.cross_validation import fit_head
from trainer.training.one_vs_rest import MultiLabelTraining, shifted

LABELS = 3


def drawn(count: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores that are right more often than not, and the truth."""
    generator = np.random.default_rng(seed)
    targets = generator.random((count, LABELS)) < [0.1, 0.4, 0.7]
    logits = np.where(targets, 1.0, -1.0) + generator.normal(0, 1.2, (count, LABELS))
    return sigmoid(logits).round(2), targets


def training(count: int, seed: int = 0, noise: float = 1.0) -> MultiLabelTraining:
    """Photos whose features are those of their labels together."""
    generator = np.random.default_rng(seed)
    targets = np.random.default_rng(seed + 100).random((count, LABELS)) < 0.4
    directions = 3 * np.eye(LABELS, 16)
    plain = 2 + targets @ directions + generator.normal(0, noise, (count, 16))
    features = plain[:, np.newaxis] + generator.normal(0, 0.1, (count, 2, 16))
    strata = np.where(targets.any(axis=1), targets.argmax(axis=1), -1)
    keys = [generator.bytes(16) for _ in range(count)]
    return MultiLabelTraining(features.astype(np.float32), strata, keys, np.ones(LABELS, np.float32), targets)


def test_average_precision_is_that_of_scikit_learn_also_with_equal_scores() -> None:
    scores, targets = drawn(200)
    expected = average_precision_score(targets, scores, average=None)
    assert average_precisions(scores, targets) == pytest.approx(expected.tolist())
    assert len(np.unique(scores[:, 0])) < 200


def test_a_label_without_photos_has_no_average_precision_and_does_not_count_in_the_mean() -> None:
    scores, targets = drawn(50)
    targets[:, 1] = False
    precisions = average_precisions(scores, targets)
    assert precisions[1] is None
    assert mean(precisions) == pytest.approx((precisions[0] + precisions[2]) / 2)  # type: ignore[operator]


def test_the_threshold_of_a_label_gives_the_highest_f1_that_any_threshold_gives() -> None:
    scores, targets = drawn(60)
    for at, threshold in enumerate(best_thresholds(scores, targets)):
        f1 = f1_score(targets[:, at], scores[:, at] >= threshold)
        assert f1 == pytest.approx(max(f1_score(targets[:, at], scores[:, at] >= one) for one in scores[:, at]))


def test_the_threshold_of_a_label_that_is_told_apart_is_in_the_gap_and_near_a_half() -> None:
    scores = np.array([[0.05], [0.2], [0.7], [0.9]])
    assert list(best_thresholds(scores, np.array([[False], [False], [True], [True]]))) == pytest.approx([0.45])


def test_a_threshold_is_above_0_whatever_the_scores() -> None:
    scores = np.array([[1e-9], [2e-9], [3e-9]])
    assert list(best_thresholds(scores, np.array([[True], [False], [True]]))) == [pytest.approx(1e-6)]


def test_a_label_of_all_photos_or_none_has_the_default_threshold() -> None:
    scores, _ = drawn(5)
    targets = np.array([[True, False, True]] * 5)
    assert list(best_thresholds(scores, targets)) == [0.5, 0.5, 0.5]


def test_a_head_names_photos_that_it_was_not_fitted_on_and_says_beforehand_how_well() -> None:
    data, other = training(200), training(2000, seed=1)
    head, cross_validation = fit_head(data, 5)
    assert cross_validation is not None
    assert cross_validation.labels.shape == (200, LABELS)
    assert len(cross_validation.left_out) == 0
    measured = other.score(head.logits(other.features[:, 0]), np.ones(2000, bool))
    assert measured == pytest.approx(float(np.mean(cross_validation.fold_scores)), abs=0.05)
    assert [photos for photos, _, _ in cross_validation.learning_curve] == [
        pytest.approx(n, abs=3) for n in (20, 40, 80, 160)
    ]
    calibration = MultiLabelCalibration.fit(cross_validation.logits, cross_validation.labels, "rule")
    named = calibration.probabilities(head.logits(other.features[:, 0])) >= calibration.thresholds
    assert (named == other.targets).mean() > 0.9


def test_scores_are_probabilities() -> None:
    data, other = training(300, noise=2.5), training(4000, seed=1, noise=2.5)
    head, cross_validation = fit_head(data, 5)
    assert cross_validation is not None
    head, cross_validation = shifted(head, cross_validation)
    calibration = MultiLabelCalibration.fit(cross_validation.logits, cross_validation.labels, "rule")
    scores = calibration.probabilities(head.logits(other.features[:, 0])).ravel()
    truth = other.targets.ravel()
    for low in (0.1, 0.4, 0.7):
        inside = (scores >= low) & (scores < low + 0.2)
        assert truth[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.07)
    assert scores.mean() == pytest.approx(truth.mean(), abs=0.03)


def test_the_same_photos_give_the_same_bits() -> None:
    first, second = (fit_head(training(60), 3)[0] for _ in range(2))
    np.testing.assert_array_equal(first.kernel, second.kernel)
    np.testing.assert_array_equal(first.bias, second.bias)


def test_labels_of_all_photos_or_none_have_the_same_logit_for_every_photo() -> None:
    data = training(40)
    data.targets[:, 0], data.targets[:, 1] = True, False
    head = data.fit(np.ones(40, bool), 0.1)
    logits = head.logits(data.features[:, 0])
    assert np.ptp(logits[:, :2], axis=0).tolist() == [0, 0]
    assert logits[0, 0] > 3
    assert logits[0, 1] < -3
    assert np.ptp(logits[:, 2]) > 1
