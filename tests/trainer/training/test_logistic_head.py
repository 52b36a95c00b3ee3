"""The logistic head: what it fits, what cross-validation holds out, and that nothing depends on chance."""

import dataclasses
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
    head, cross_validation = fit_head(clusters(240, distance=3.0), 5)
    assert cross_validation is not None
    assert len(cross_validation.fold_scores) == 5
    assert right(head, clusters(3000, distance=3.0, seed=1)) == pytest.approx(
        np.mean(cross_validation.fold_scores), abs=0.06
    )


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
    calls: list[NDArray[np.bool_]] = []
    fit = Training.fit

    def watched(self: Training, mask: NDArray[np.bool_], strength: float) -> Head:
        calls.append(mask)
        return fit(self, mask, strength)

    monkeypatch.setattr(Training, "fit", watched)
    _, cross_validation = fit_head(training, 5)
    assert cross_validation is not None
    fold = assign_folds(training.labels, training.keys, 5)
    for mask, number in zip(calls[:5], range(5), strict=True):
        np.testing.assert_array_equal(mask, fold != number)
    assert all(len(np.unique(training.labels[fold == number])) == CLASSES for number in range(5))


def test_a_mirrored_head_is_tested_on_the_mean_of_a_photo_and_its_mirror_image() -> None:
    training = clusters(60, views=3)
    mirrored = dataclasses.replace(training, mirrored=True)
    (head, plain), (other, cross_validation) = (fit_head(one, 5, (0.1,)) for one in (training, mirrored))
    assert plain is not None
    assert cross_validation is not None
    np.testing.assert_array_equal(head.kernel, other.kernel)
    second = dataclasses.replace(training, features=training.features[:, [1, 1, 1]])
    fold = assign_folds(training.labels, training.keys, 5)
    fits = [training.fit(fold != number, 0.1) for number in range(5)]
    of_second = np.stack([fits[number].logits(second.features[at : at + 1, 0])[0] for at, number in enumerate(fold)])
    np.testing.assert_allclose(cross_validation.logits, (plain.logits + of_second) / 2, atol=1e-4)
    assert np.abs(cross_validation.logits - plain.logits).max() > 1e-3


def test_classes_that_were_left_out_have_no_logit_and_all_photos_are_left_out_once() -> None:
    training = clusters(90)
    _, cross_validation = fit_head(training, 3)
    assert cross_validation is not None
    assert training.groups() == [[at] for at in range(CLASSES)]
    assert cross_validation.left_out.shape == (90, CLASSES)
    assert (np.isneginf(cross_validation.left_out).sum(axis=1) == 1).all()
    for at, label in enumerate(np.sort(training.labels)):  # group by group
        assert np.isneginf(cross_validation.left_out[at, label])


@pytest.mark.parametrize(("classes", "groups"), [(2, 0), (3, 3), (25, 10)])
def test_no_fewer_than_two_classes_are_left_when_others_are_left_out(classes: int, groups: int) -> None:
    class_groups = clusters(50, classes, views=1).groups()
    assert len(class_groups) == groups
    assert sorted(itertools.chain(*class_groups)) == (list(range(classes)) if groups else [])


def test_two_classes_have_two_logits_that_differ_by_that_of_a_sigmoid() -> None:
    head, cross_validation = fit_head(clusters(60, 2), 5)
    assert cross_validation is not None
    assert head.kernel.shape == (16, 2)
    np.testing.assert_allclose(head.kernel[:, 0], -head.kernel[:, 1], atol=1e-6)
    assert cross_validation.left_out.shape == (0, 2)


def test_a_class_of_one_photo_is_learned_and_not_tested() -> None:
    training = clusters(61)
    labels = training.labels.copy()
    labels[labels == 5] = 4
    labels[60] = 5
    head, cross_validation = fit_head(Training(training.features, labels, training.keys, training.class_weights), 5)
    assert cross_validation is not None
    assert np.isfinite(head.bias).all()
    assert len(cross_validation.labels) == 60
    assert 5 not in cross_validation.labels


def test_without_two_photos_of_any_class_there_is_a_head_and_no_cross_validation() -> None:
    training = clusters(CLASSES)
    head, cross_validation = fit_head(training, 5)
    assert cross_validation is None
    assert right(head, training) == 1.0


def test_heavier_classes_are_named_more_often() -> None:
    training = clusters(120, 2, distance=1.0)
    even = fit_head(training, 5)[0]
    weights = np.array([1.0, 9.0], np.float32)
    heavy = fit_head(Training(training.features, training.labels, training.keys, weights), 5)[0]
    other = clusters(2000, 2, distance=1.0, seed=5).features[:, 0]
    shares = [(head.logits(other).argmax(axis=1) == 1).mean() for head in (even, heavy)]
    assert shares[1] > shares[0] + 0.1


@pytest.mark.parametrize(
    ("losses", "best"),
    [((0.3, 0.205, 0.2), 1), ((0.215, 0.21, 0.2), 0), ((0.3, 0.25, 0.2), 2)],
    ids=["second", "strongest", "best"],
)
def test_the_strongest_regularisation_within_one_standard_error_of_the_best_is_chosen(
    losses: tuple[float, ...], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths: list[float] = []
    fit, left = Training.fit, iter(losses)

    def watched(self: Training, mask: NDArray[np.bool_], strength: float) -> Head:
        strengths.append(strength)
        return fit(self, mask, strength)

    monkeypatch.setattr(Training, "fit", watched)
    monkeypatch.setattr(Training, "loss", lambda *_: (next(left), 0.02))
    fit_head(clusters(30, 3), 2)
    assert set(strengths[:6]) == set(cross_validation.STRENGTHS)
    assert strengths[-1] == cross_validation.STRENGTHS[best]


def test_neither_the_unit_nor_the_origin_of_features_matters() -> None:
    training = clusters(60)
    everything = np.ones(60, bool)
    expected = training.fit(everything, 0.1).logits(training.features[:, 0])
    for other in (100 * training.features, training.features + 5):
        logits = dataclasses.replace(training, features=other).fit(everything, 0.1).logits(other[:, 0])
        np.testing.assert_allclose(logits, expected, atol=0.02)


def test_a_head_is_fitted_to_all_views_of_a_photo() -> None:
    training = clusters(60)
    noise = np.random.default_rng(1).normal(0.3, 0.1, training.features[:, 0].shape).astype(np.float32)
    features = np.stack([noise, training.features[:, 1]], axis=1)  # only the mirror images say anything
    head = dataclasses.replace(training, features=features).fit(np.ones(60, bool), 1.0)
    assert right(head, clusters(300, seed=1)) > 0.6  # by chance: 0.17


@pytest.mark.parametrize("distance", [1.5, 5.0])  # of classes that overlap, and of classes that do not
def test_the_threshold_costs_the_share_of_known_photos_that_it_says_and_rates_are_those_of_the_scores(
    distance: float,
) -> None:
    _, cross_validation = fit_head(clusters(600, distance=distance), 5)
    assert cross_validation is not None
    calibration = Calibration.cross_validated(
        cross_validation.logits, cross_validation.labels, cross_validation.left_out, sigmoid=False
    )
    scores = calibration.probabilities(cross_validation.logits)[:, :-1].sum(axis=1)
    assert (scores < calibration.threshold).mean() == pytest.approx(0.02, abs=0.003)
    assert calibration.unknown["known_called_unknown"] == pytest.approx(0.02, abs=0.003)
    others = calibration.probabilities(cross_validation.left_out)[:, :-1].sum(axis=1)
    assert calibration.unknown["left_out_taken_for_known"] == pytest.approx((others >= 0.9).mean(), abs=0.003)
    assert calibration.unknown["auroc"] == pytest.approx(calibrate.auroc(scores, others), abs=0.01)
    assert (others >= 0.9).mean() < (0.5 if distance > 2 else 1)
