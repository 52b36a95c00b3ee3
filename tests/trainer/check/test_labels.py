"""Wrong labels and classes that are alike, found in scores of known distributions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.check.labels import MIN_MARGIN, alike_classes, label_errors
from trainer.check.mirrored import candidates
from trainer.check.outliers import distances, outliers

CLASSES = 8


def scores(truth: NDArray[np.int64], *, sure: float, seed: int = 0) -> NDArray[np.float64]:
    """Scores of a model that gives the true class the highest logit of `sure` over noise."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, (len(truth), CLASSES))
    logits[np.arange(len(truth)), truth] += sure
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("sure", [5.0, 8.0])
def test_most_swapped_labels_are_found_and_most_that_are_found_were_swapped(sure: float) -> None:
    generator = np.random.default_rng(1)
    truth = np.arange(1600) % CLASSES
    labels = truth.copy()
    swapped = generator.choice(1600, 80, replace=False)
    labels[swapped] = (truth[swapped] + generator.integers(1, CLASSES, 80)) % CLASSES
    errors = label_errors(scores(truth, sure=sure), labels)
    hits = [one for one in errors if one.photo in swapped]
    assert len(hits) >= 0.8 * len(swapped)
    assert len(hits) >= 0.5 * len(errors)
    assert np.mean([one.suggested == truth[one.photo] for one in hits]) > 0.9
    margins = [one.score - one.given_score for one in errors]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] >= MIN_MARGIN
    first = errors[:40]
    assert sum(one.photo in swapped for one in first) >= 38  # the most certain come first


def test_an_unsure_model_calls_no_label_wrong_that_is_right() -> None:
    truth = np.arange(400) % CLASSES
    even = np.full((400, CLASSES), 1 / CLASSES)
    even[np.arange(400), truth] += 1e-6
    assert label_errors(even, truth) == []


def test_classes_that_are_taken_for_each_other_are_alike_and_the_others_are_not() -> None:
    truth = np.arange(400) % CLASSES
    predicted = truth.copy()
    of_two, of_three = np.flatnonzero(truth == 2), np.flatnonzero(truth == 3)
    predicted[of_two[:20]], predicted[of_three[:10]] = 3, 2  # 30 of 100
    predicted[np.flatnonzero(truth == 5)[:2]] = 6
    [pair] = alike_classes(np.eye(CLASSES)[predicted], truth)
    assert (pair.first, pair.second, pair.confused, pair.share) == (2, 3, 30, 0.3)


def test_photos_are_compared_with_those_of_similar_features() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(0, 1, (300, 64)).astype(np.float32)
    assert candidates(features) == []
    features[200] = 3 * features[10] + generator.normal(0, 0.3, 64)
    assert candidates(features) == [(200, 10)]


def test_a_photo_unlike_all_others_is_an_outlier_and_a_cluster_has_none() -> None:
    generator = np.random.default_rng(0)
    centre = generator.normal(0, 1, 64)
    features = (centre + generator.normal(0, 0.3, (300, 64))).astype(np.float32)
    assert outliers(distances(features)) == []
    features[17] = -centre
    assert outliers(distances(features)) == [17]
