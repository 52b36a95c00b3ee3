"""Temperature, calibration error, the unknown threshold and AUROC, on numbers whose answers are known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from trainer.evaluation import calibrate
from trainer.evaluation.calibration import Calibration


def confident_logits(rng: np.random.Generator, count: int, true_temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from softmax(logits / true_temperature), so that this is the right temperature."""
    logits = rng.normal(0, 3, (count, 4)).astype(np.float32)
    probabilities = calibrate.softmax(logits, true_temperature)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = confident_logits(np.random.default_rng(0), 20_000, temperature)
    assert calibrate.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_fitted_temperature_has_the_least_negative_log_likelihood() -> None:
    logits, labels = confident_logits(np.random.default_rng(1), 300, 1.7)

    def loss(temperature: float) -> float:
        return float(-np.log(calibrate.softmax(logits, temperature)[np.arange(len(labels)), labels]).mean())

    fitted = calibrate.fit_temperature(logits, labels)
    assert all(loss(fitted) <= loss(fitted * factor) for factor in (0.8, 0.97, 1.03, 1.25))


def test_a_set_without_mistakes_does_not_make_the_model_surer() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] * 2
    assert calibrate.fit_temperature(logits, np.array([0, 1, 2, 0])) == pytest.approx(1.0)


def test_a_model_that_is_worse_than_chance_is_held_at_the_bound() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2]] * 8
    assert calibrate.fit_temperature(logits, np.array([1, 2, 0])) == pytest.approx(calibrate.TEMPERATURES[1])


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0], [0, 1e4], [1e4, 0]], np.float32)
    assert 0 < calibrate.fit_temperature(logits, np.array([0, 1, 1])) <= calibrate.TEMPERATURES[1]


@pytest.mark.parametrize(("logits", "labels"), [((0, 3), 0), ((3, 3), 2), ((3,), 3)])
def test_shapes_that_do_not_go_together_are_refused(logits: tuple[int, ...], labels: int) -> None:
    with pytest.raises(ValueError, match="are not"):
        calibrate.fit_temperature(np.zeros(logits, np.float32), np.zeros(labels, np.int64))


def test_calibration_error_is_the_gap_between_sure_and_right() -> None:
    probabilities = np.tile(np.array([0.8, 0.2]), (10, 1))
    all_right, half_right = np.zeros(10, np.int64), np.array([0, 1] * 5)
    assert calibrate.expected_calibration_error(probabilities, all_right) == pytest.approx(0.2)
    assert calibrate.expected_calibration_error(probabilities, half_right) == pytest.approx(0.3)


def test_bins_are_weighed_by_their_photos() -> None:
    probabilities = np.array([[0.99, 0.01]] * 9 + [[0.55, 0.45]])
    labels = np.array([0] * 9 + [1])
    assert calibrate.expected_calibration_error(probabilities, labels) == pytest.approx(0.9 * 0.01 + 0.1 * 0.55)


def test_a_certain_answer_falls_into_the_last_bin_and_counts_once() -> None:
    reliability = calibrate.reliability(np.array([1.0, 1.0]), np.array([True, False]))
    assert reliability.count.tolist() == [0] * (calibrate.BINS - 1) + [2]
    assert reliability.filled() == [(1.0, 0.5, 2)]


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_no_more_known_photos_fall_under_the_threshold_than_allowed(rate: float) -> None:
    confidences = np.random.default_rng(2).beta(8, 2, 200)
    threshold = calibrate.choose_unknown_threshold(confidences, rate)
    assert (confidences < threshold).mean() <= rate
    assert (confidences < threshold + 0.02).mean() > rate


def test_equal_confidences_are_all_kept() -> None:
    assert calibrate.choose_unknown_threshold(np.full(10, 0.75), 0.5) == 0.75


def test_a_threshold_needs_photos() -> None:
    with pytest.raises(ValueError, match="there are none"):
        calibrate.choose_unknown_threshold(np.array([]), 0.05)


@pytest.mark.parametrize(("least_known", "temperature"), [(0.5, 1.0), (0.9, 0.8), (0.9, 3.0)])
def test_something_else_takes_its_share_from_what_lies_beyond_the_outer_fence(
    least_known: float, temperature: float
) -> None:
    known_logits = np.random.default_rng(2).normal(0, 1, (200, 6)) + 12 * np.eye(6)[np.arange(200) % 6]
    other = calibrate.choose_other_logit(known_logits, temperature, least_known)

    def sums(logits: np.ndarray) -> np.ndarray:
        every = np.append(logits, np.full((len(logits), 1), other), axis=1)
        return np.asarray(calibrate.softmax(every, temperature)[:, :-1].sum(axis=1))

    assert sums(known_logits).min() > least_known
    energies = temperature * np.log(np.exp(known_logits / temperature).sum(axis=1))
    low, high = np.quantile(energies, (0.25, 0.75))
    at_fence = np.full((1, 6), low - 3 * (high - low) - temperature * np.log(6))
    assert sums(at_fence) == pytest.approx([least_known])
    assert sums(at_fence - 5)[0] < least_known
    # One photo that is far out does not move it by much.
    odd = np.append(known_logits, np.full((1, 6), -50.0), axis=0)
    assert calibrate.choose_other_logit(odd, temperature, least_known) == pytest.approx(other, abs=0.5)
    with pytest.raises(ValueError, match="there are none"):
        calibrate.choose_other_logit(np.zeros((0, 6)), 1.0, least_known)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(3)
    known, unknown = rng.integers(0, 12, 40) / 10, rng.integers(0, 9, 30) / 10
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in known for b in unknown]
    assert calibrate.auroc(known, unknown) == pytest.approx(np.mean(pairs))
    of_scikit_learn = roc_auc_score([1] * 40 + [0] * 30, np.concatenate([known, unknown]))
    assert calibrate.auroc(known, unknown) == pytest.approx(of_scikit_learn)
    assert calibrate.auroc(np.array([0.9, 0.8]), np.array([0.1])) == 1.0
    assert calibrate.auroc(np.array([0.5]), np.array([0.5])) == 0.5


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_sets_of_labels_hold_the_truth_as_often_as_they_say(coverage: float) -> None:
    rng = np.random.default_rng(4)
    logits, labels = confident_logits(rng, 4000, 1.5)
    scores = calibrate.softmax(logits, 1.0)  # not calibrated: that makes no difference
    true = scores[np.arange(4000), labels]
    least = calibrate.least_set_score(true[:2000], coverage)
    assert (true[2000:] >= least).mean() == pytest.approx(coverage, abs=0.015)
    assert 1 < (scores[2000:] >= least).sum(axis=1).mean() < 4


def test_a_temperature_at_the_end_of_its_range_is_known_to_be_there() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2]] * 8
    assert calibrate.at_bound(round(calibrate.fit_temperature(logits, np.array([1, 2, 0])), 6))
    assert not calibrate.at_bound(1.0)


@pytest.mark.parametrize("outputs", [6, 1], ids=["softmax", "sigmoid"])
def test_label_sets_without_cross_validation_hold_the_truth_of_new_photos(outputs: int) -> None:
    generator = np.random.default_rng(5)

    def photos(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits of four views of photos (count * 4, outputs), the plain one first, and the classes (count)."""
        classes = max(2, outputs)
        truth = generator.integers(0, classes, count)
        logits = generator.normal(0, 1.5, (count, 1, classes)) + generator.normal(0, 0.5, (count, 4, classes))
        logits[np.arange(count), :, truth] += 3
        rows = logits.reshape(-1, classes).astype(np.float32)
        return (rows if outputs > 1 else np.diff(rows)), truth

    calibration = Calibration.fit(*photos(300), coverage=0.9)
    logits, truth = photos(3000)
    scores = calibration.probabilities(logits[::4])
    assert calibration.set_score is not None
    inside = scores[:, : max(2, outputs)] >= calibration.set_score
    assert 0.87 < inside[np.arange(len(truth)), truth].mean() < 0.99
    assert inside.sum(axis=1).mean() < 2.5


@pytest.mark.parametrize(("coverage", "photos"), [(0.95, 19), (0.9, 9), (0.8, 4), (0.5, 1)])
def test_too_few_photos_for_a_promise_give_no_label_sets(coverage: float, photos: int) -> None:
    logits, labels = np.eye(3, dtype=np.float32)[np.arange(photos) % 3] * 5, np.arange(photos) % 3
    assert Calibration.fit(logits, labels, coverage).set_score is not None
    assert calibrate.least_set_score(np.linspace(0.2, 0.9, photos), coverage) == pytest.approx(0.2)
    assert calibrate.least_set_score(np.full(photos - 1, 0.9), coverage) == 0.0
    if photos > 1:
        assert Calibration.fit(logits[1:], labels[1:], coverage).set_score is None
