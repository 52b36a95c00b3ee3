"""Whole training runs: what is published, what is said, and what is not trained again."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gateway.observability.answer_metrics import Baseline
from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder, draw_data
from tests.trainer.training.runs import TINY, Trained, card_of, weights_of
from trainer.config import make
from trainer.config_sources import read
from trainer.errors import TrainerError
from trainer.evaluation.calibration import Calibration
from trainer.export import precision
from trainer.export.keras_copies import load_keras, logits_of
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.signatures import split_at_features
from trainer.model_card import JSON, Backbone, Card, InputSpec
from trainer.network import assemble
from trainer.training import cross_validation, stages
from trainer.training.cross_validation import CrossValidation
from trainer.training.describe import figure_lines, warnings
from trainer.training.logistic_head import Training
from trainer.training.tuning import Trial

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_photos: WriteFolder) -> Trained:
    """A run that further ones are compared with; they find its features in the cache."""
    folder = tmp_path_factory.mktemp("trained")
    draw_data(folder / "photos", write_photos)
    with pytest.MonkeyPatch.context() as patch:
        tiny.add(patch)
        network = assemble.build(make({"data": "x", "name": "x", "backbone": "tiny", "size": 32, "weights": "none"}), 2)
        network.backbone.save_weights(folder / "tiny.weights.h5")
        status, out, error = Trained(folder).train("colours", "--noun", "colour")
    assert status == 0, error
    return Trained(folder, out)


def test_a_folder_of_photos_becomes_a_published_version(trained: Trained) -> None:
    card = card_of(trained.version)
    assert card.labels == ("red", "green")
    assert card.noun == "colour"
    assert card.backbone == Backbone("tiny", "file", "the file tiny.weights.h5")
    assert card.metrics["validation"]["photos"] == 6
    assert card.training["photos"] == {"train": {"red": 10, "green": 10}, "validation": {"red": 3, "green": 3}}
    assert card.metrics["cross-validation"]["photos"] == 20
    assert card.metrics["cross-validation"]["folds"] == 5
    assert (card.other_labels, card.unknown_threshold) == ((None,), 0.9)
    assert "in cross-validation" in card.unknown_rule
    assert card.label_sets["coverage"] == 0.95
    baseline = Baseline.model_validate(card.baseline)  # as the gateway reads it
    assert baseline.photos == 20
    assert sum(baseline.labels.values()) + baseline.unknown == pytest.approx(1, abs=1e-4)
    assert isinstance(card.metrics["validation"]["label_set_coverage"], float)
    sentence = f"validation: 6 photos, accuracy {card.metrics['validation']['accuracy']} (95 % interval "
    assert sentence in trained.out
    assert "cross-validation: 20 photos, accuracy" in trained.out
    deviation = card.metrics["cross-validation"]["standard_deviation"]
    assert f"5 folds: the standard deviation of their accuracies is {deviation}" in trained.out
    assert "optimistic" not in trained.out


def test_no_path_is_published_and_the_run_keeps_its_files_and_the_cache(trained: Trained) -> None:
    for name in ("config.toml", "history.json", "card.json"):
        assert str(trained.folder) not in (trained.version / "assets.extra" / name).read_text()
    kept = {one.name for one in trained.run.iterdir()}
    assert {"config.toml", "history.json", "evaluation.json", "report.html"} <= kept
    assert "state" not in kept
    assert list((trained.folder / "runs" / "cache").glob("features-*"))


def test_added_photos_need_only_their_own_features_and_a_new_label_becomes_a_class(
    trained: Trained, tmp_path: Path, write_photos: WriteFolder
) -> None:
    more = write_photos(tmp_path / "more", {"Red": 2, "unused": 0, "blue": 5}, first=500)
    (more / "unused").rmdir()
    others = write_photos(tmp_path / "others", {"green": 1}, first=700)
    status, out, error = trained.train("more", "--add", more, "--add", others, "--set-coverage", "0.8")
    assert status == 0, error
    assert "Computing features: 16/16" in error  # 8 photos in 2 views
    assert "8 of the training photos were added, of these classes: blue, green, red" in out
    assert "new classes: blue; validation has no photos of them, cross-validation covers them" in out
    version = trained.folder / "models" / "more" / "1"
    card = card_of(version)
    assert card.labels == ("red", "green", "blue")
    assert card.training["added"] == {"blue": 5, "green": 1, "red": 2}
    assert card.metrics["validation"]["photos"] == 6
    assert card.metrics["cross-validation"]["photos"] == 28
    assert card.label_sets["coverage"] == 0.8
    assert (card.unknown_rates["known_photos"], card.unknown_rates["left_out_photos"]) == (28, 28)
    taken = card.unknown_rates["left_out_taken_for_known"]
    assert f"of 28 photos of classes that were left out, {taken:.1%} are taken for another class" in out
    assert str(tmp_path) not in (version / "assets.extra" / "config.toml").read_text()
    (run,) = (trained.folder / "runs" / "more").iterdir()
    assert make(read(run / "config.toml")).add == (str(more), str(others))


def test_a_version_can_be_made_again_from_the_file_of_its_run_bit_for_bit_whatever_the_seed(
    trained: Trained, tmp_path: Path
) -> None:
    again = ("train", "--config", trained.run / "config.toml", "--name", "again", "--cache-dir", tmp_path)
    status, out, error = trained.command(*again, "--seed", "7", "--dropout", "0.4", "--patience", "3")
    assert status == 0, error
    assert "warning: --dropout, --patience changes nothing in a logistic head" in out
    versions = trained.version, trained.folder / "models" / "again" / "1"
    for one, other in zip(*map(weights_of, versions), strict=True):
        np.testing.assert_array_equal(one, other)
    cards = [card_of(version) for version in versions]
    assert (cards[0].temperature, cards[0].metrics) == (cards[1].temperature, cards[1].metrics)


def test_a_photo_and_its_mirror_image_get_the_same_answer_with_tta(trained: Trained) -> None:
    status, out, error = trained.train("mirrored", "--tta", "flip")
    assert status == 0, error
    assert "--tta flip: each answer needs the network twice" in out
    version = trained.folder / "models" / "mirrored" / "1"
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    ours, plain = SavedClassifier(version), SavedClassifier(trained.version)
    flipped = np.ascontiguousarray(images[:, :, ::-1])
    np.testing.assert_allclose(ours.probabilities(images), ours.probabilities(flipped), atol=1e-5)
    np.testing.assert_allclose(ours.embeddings(images), ours.embeddings(flipped), atol=1e-5)
    assert np.abs(plain.probabilities(images) - plain.probabilities(flipped)).max() > 1e-3
    heat = [ours._model.signatures["explain"](images=one)["heatmap"].numpy() for one in (images, flipped)]
    assert np.abs(heat[0] - heat[1]).max() > 0.1  # it is that of the photo
    # The card has the figures of the calibration; those of the evaluation are of the exported model.
    figures = card_of(version).metrics["validation"]
    (run,) = (trained.folder / "runs" / "mirrored").iterdir()
    evaluated = json.loads((run / "evaluation.json").read_text())
    assert evaluated["expected_calibration_error"] == pytest.approx(figures["expected_calibration_error"], abs=1.1e-4)
    settings = card_of(version).training["settings"]
    assert isinstance(settings, dict)
    assert settings["tta"] == "flip"
    again, _ = split_at_features(logits_of(load_keras(version / "assets.extra" / "model.keras")))
    first, second = (np.asarray(again(one.astype(np.float32))[0]) for one in (images, flipped))
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 8}, "needs a logistic head and no fine-tuning: leave out --tta, or --hidden"),
        ({"fine_tune": 2}, "needs a logistic head and no fine-tuning"),
        ({"views": 1}, "needs the features of mirror images"),
        ({"tune": 60}, "needs the features of mirror images"),
    ],
)
def test_tta_is_refused_where_the_mean_is_not_calibrated(options: dict[str, int], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        make({"data": "x", "name": "x", "tta": "flip", **options})


def test_bfloat16_is_tried_before_the_training_and_another_precision_goes_on_with_the_same_run(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: stages.Stages) -> None:
        raise TrainerError("the training begins")

    monkeypatch.setattr(stages.Stages, "run", stop)
    with monkeypatch.context() as patch:
        patch.setattr(precision, "_OPTIMIZERS", ("pruning",))  # as on a processor that cannot
        status, _, error = trained.train("precise", "--precision", "bfloat16")
    assert status == 1
    assert "bfloat16 is not available" in error.splitlines()[-1]
    monkeypatch.setattr("trainer.training.train.check_available", lambda _: None)
    for candidate in ("float32", "bfloat16"):
        status, _, error = trained.train("precise", "--precision", candidate)
        assert (status, "the training begins" in error) == (1, True), error
    assert len(list((trained.folder / "runs" / "precise").iterdir())) == 1


def test_a_model_that_learned_nothing_is_not_published(
    trainer: Trainer, write_photos: WriteFolder, tmp_path: Path
) -> None:
    data = write_photos(tmp_path / "photos" / "train", {"red": 10, "green": 10}).parent
    write_photos(data / "valid", {"green": 6, "red": 6}, first=100)  # in each other's colours
    unforced = [one for one in TINY if one != "--force"]
    status, _, error = trainer("train", data, "--name", "colours", *unforced, "--epochs", "9", "--views", "1")
    assert status == 1
    assert "the model was not published" in error.splitlines()[-1]
    assert not list((tmp_path / "models").rglob("saved_model.pb"))


@pytest.mark.parametrize(
    ("temperature", "message"), [(20.0, ["the temperature is 20, the end of its range"]), (1.3, [])]
)
def test_a_temperature_at_the_end_of_its_range_is_a_warning(temperature: float, message: list[str]) -> None:
    tested = np.zeros(0, np.int64)
    cross_validation = CrossValidation(
        tested, np.zeros((0, 2), np.float32), tested, [], np.zeros((0, 2), np.float32), {}, []
    )
    fitted = stages.Fitted(None, InputSpec(8, 8), {}, {}, Calibration(temperature, None, 0.5, "x"), cross_validation)
    assert [line.split(":")[0] for line in warnings(fitted)] == message


def test_the_search_decides_on_views_and_strength_and_folds_are_those_of_the_option(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def tuned(training: Callable[[int], Training], folds: int, seconds: float) -> Trial:
        calls.append((training(1).features.shape[1], folds, seconds))
        return Trial(4, 0.03, 0.1, 0.01)

    def stop(training: Training, folds: int, strengths: Sequence[float]) -> None:
        calls.append((training.features.shape[1], folds, *strengths))
        raise TrainerError("the head is fitted")

    monkeypatch.setattr(stages, "tune", tuned)
    monkeypatch.setattr(stages, "fit_head", stop)
    for options in (("--tune", "600", "--folds", "3"), ("--strength", "0.5"), ()):
        status, _, error = trained.train("searched", *options)
        assert (status, "the head is fitted" in error) == (1, True), error
    assert calls == [(1, 3, 600), (4, 3, 0.03), (2, 5, 0.5), (2, 5, *cross_validation.STRENGTHS)]


@pytest.mark.parametrize("cross_validated", [True, False])
def test_the_coverage_of_label_sets_is_said_to_be_optimistic_if_its_photos_chose_the_score(
    *, cross_validated: bool
) -> None:
    figures: dict[str, JSON] = {
        "photos": 40, "accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "folds": 5, "standard_deviation": 0.02,
        "label_set_coverage": 0.951, "label_set_size": 1.2,
    }  # fmt: skip
    splits = ["validation", "cross-validation"] if cross_validated else ["validation"]
    card = Card(
        "x",
        ("a", "b"),
        InputSpec(8, 8),
        Backbone("tiny", "none"),
        metrics=dict.fromkeys(splits, figures),
        label_sets={"coverage": 0.95, "least_score": 0.2},
    )
    [text] = [line for line in figure_lines(card) if line.startswith("label sets")]
    assert "contain the true label of 95.1% of the validation photos; they have 1.2 labels on average" in text
    assert text.endswith("so the figure is optimistic") != cross_validated


def test_a_dense_head_is_logged_for_tensorboard_and_mlflow_and_its_validation_is_said_to_be_optimistic(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a store without a server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow.set_tracking_uri(None)  # read it from the environment
    command = ["train", data, "--name", "colours", *TINY, "--head", "dense", "--epochs", "3", "--patience", "9"]
    status, out, error = trainer(*command, "--tensorboard", "--mlflow")
    assert status == 0, error
    assert "so accuracy on them is optimistic" in out
    assert "cross-validation" not in out
    (run,) = (tmp_path / "runs" / "colours").iterdir()
    events = list((run / "tensorboard").rglob("events.out.tfevents.*"))
    assert {one.parent.name for one in events} == {"tensorboard", "train", "validation"}
    assert f"tensorboard --logdir {tmp_path / 'runs' / 'colours'}" in out
    [logged] = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("colours").experiment_id])
    assert logged.data.params["epochs"] == "3"
    assert logged.data.metrics["validation.photos"] == 6
    losses = mlflow.MlflowClient().get_metric_history(logged.info.run_id, "head.val_loss")
    assert [one.step for one in losses] == [1, 2, 3]
    artifacts = Path(logged.info.artifact_uri.removeprefix("file://"))
    assert {"report.html", "evaluation.json", "config.toml"} <= {one.name for one in artifacts.iterdir()}
    assert (artifacts / "model" / "1" / "saved_model.pb").is_file()


def test_mlflow_is_missed_before_anything_slow(trainer: Trainer, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, _, error = trainer("train", data, "--name", "colours", *TINY, "--mlflow")
    assert status == 1
    assert "pip install 'breed-gateway[mlflow]'" in error
