"""The logistic head: what it fits, what cross-validation holds out, and that nothing depends on chance."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.evaluation import calibrate
from trainer.evaluation.calibration import Calibration
from trainer.training import cross_validation
from trainer.training.cross_validation import assign_folds, fit_head
from trainer.training.logistic_head import Head, Training

CLASSES = 6


def clusters(count: int, classes: int = CLASSES, *, views: int = 2, distance: float = 4.0, seed: int = 0) -> Training:
    """Photos around one point for each class, far from the origin, in units that are not 1."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = 3 + distance * np.eye(classes, 16)
    plain = centres[labels] + generator.normal(0, 1, (count, 16))
    features = plain[:, np.newaxis] + generator.normal(0, 0.1, (count, views, 16))
    keys = [generator.bytes(16) for _ in range(count)]
    return Training((0.1 * features).astype(np.float32), labels, keys, np.ones(classes, np.float32))


def right(head: Head, training: Training) -> float:
    return float((head.logits(training.features[:, 0]).argmax(axis=1) == training.labels).mean())


def test_a_head_names_photos_that_it_was_not_fitted_on_and_says_beforehand_how_many() -> None:
    head, found = fit_head(clusters(240, distance=3.0), 5)
    assert found is not None
    assert len(found.fold_scores) == 5
    assert right(head, clusters(3000, distance=3.0, seed=1)) == pytest.approx(np.mean(found.fold_scores), abs=0.06)


def test_the_same_photos_give_the_same_bits_in_any_order() -> None:
    training = clusters(120)
    first, second = (fit_head(training, 5)[0] for _ in range(2))
    np.testing.assert_array_equal(first.kernel, second.kernel)
    np.testing.assert_array_equal(first.bias, second.bias)
    order = np.random.default_rng(3).permutation(120)
    shuffled = Training(
        training.features[order], training.labels[order], [training.keys[at] for at in order], training.class_weights
    )
    folds = [assign_folds(one.labels, one.keys, 5) for one in (training, shuffled)]
    np.testing.assert_array_equal(folds[0][order], folds[1])


def test_the_fold_of_a_photo_was_fitted_without_any_of_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    training = clusters(60)
    seen: list[NDArray[np.bool_]] = []
    fit = Training.fit

    def watched(self: Training, chosen: NDArray[np.bool_], strength: float) -> Head:
        seen.append(chosen)
        return fit(self, chosen, strength)

    monkeypatch.setattr(Training, "fit", watched)
    _, found = fit_head(training, 5)
    assert found is not None
    fold = assign_folds(training.labels, training.keys, 5)
    for chosen, number in zip(seen[:5], range(5), strict=True):
        np.testing.assert_array_equal(chosen, fold != number)
    assert all(len(np.unique(training.labels[fold == number])) == CLASSES for number in range(5))


def test_classes_that_were_left_out_have_no_logit_and_all_photos_are_left_out_once() -> None:
    training = clusters(90)
    _, found = fit_head(training, 3)
    assert found is not None
    assert training.groups() == [[at] for at in range(CLASSES)]
    assert found.left_out.shape == (90, CLASSES)
    assert (np.isneginf(found.left_out).sum(axis=1) == 1).all()
    for at, label in enumerate(np.sort(training.labels)):  # group by group
        assert np.isneginf(found.left_out[at, label])


@pytest.mark.parametrize(("classes", "groups"), [(2, 0), (3, 3), (25, 10)])
def test_no_fewer_than_two_classes_are_left_when_others_are_left_out(classes: int, groups: int) -> None:
    found = clusters(50, classes, views=1).groups()
    assert len(found) == groups
    assert sorted(itertools.chain(*found)) == (list(range(classes)) if groups else [])


def test_two_classes_have_two_logits_that_differ_by_that_of_a_sigmoid() -> None:
    head, found = fit_head(clusters(60, 2), 5)
    assert found is not None
    assert head.kernel.shape == (16, 2)
    np.testing.assert_allclose(head.kernel[:, 0], -head.kernel[:, 1], atol=1e-6)
    assert found.left_out.shape == (0, 2)


def test_a_class_of_one_photo_is_learned_and_not_tested() -> None:
    training = clusters(61)
    labels = training.labels.copy()
    labels[labels == 5] = 4
    labels[60] = 5
    head, found = fit_head(Training(training.features, labels, training.keys, training.class_weights), 5)
    assert found is not None
    assert np.isfinite(head.bias).all()
    assert len(found.labels) == 60
    assert 5 not in found.labels


def test_without_two_photos_of_any_class_there_is_a_head_and_no_cross_validation() -> None:
    training = clusters(CLASSES)
    head, found = fit_head(training, 5)
    assert found is None
    assert right(head, training) == 1.0


def test_heavier_classes_are_named_more_often() -> None:
    training = clusters(120, 2, distance=1.0)
    even = fit_head(training, 5)[0]
    weights = np.array([1.0, 9.0], np.float32)
    heavy = fit_head(Training(training.features, training.labels, training.keys, weights), 5)[0]
    other = clusters(2000, 2, distance=1.0, seed=5).features[:, 0]
    said = [(head.logits(other).argmax(axis=1) == 1).mean() for head in (even, heavy)]
    assert said[1] > said[0] + 0.1


def test_the_strongest_regularisation_that_is_about_as_good_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    strengths: list[float] = []
    fit = Training.fit

    def watched(self: Training, chosen: NDArray[np.bool_], strength: float) -> Head:
        strengths.append(strength)
        return fit(self, chosen, strength)

    monkeypatch.setattr(Training, "fit", watched)
    _, found = fit_head(clusters(120, distance=2.0), 5)
    assert found is not None
    best = min(found.losses.values())
    wanted = next(one for one in cross_validation.STRENGTHS if found.losses[one][0] <= sum(best))
    assert strengths[-1] == wanted


def test_the_threshold_costs_the_share_of_known_photos_that_it_says_and_rates_are_those_of_the_scores() -> None:
    _, found = fit_head(clusters(600, distance=5.0), 5)
    assert found is not None
    calibration = Calibration.cross_validated(found.logits, found.labels, found.left_out, sigmoid=False)
    scores = calibration.probabilities(found.logits)[:, :-1].sum(axis=1)
    assert (scores < calibration.threshold).mean() == pytest.approx(0.02, abs=0.003)
    assert calibration.unknown["known_called_unknown"] == pytest.approx(0.02, abs=0.003)
    others = calibration.probabilities(found.left_out)[:, :-1].sum(axis=1)
    assert calibration.unknown["left_out_taken_for_known"] == pytest.approx((others >= 0.9).mean(), abs=0.003)
    assert calibration.unknown["auroc"] == pytest.approx(calibrate.auroc(scores, others), abs=0.01)
    assert (others >= 0.9).mean() < 0.5
