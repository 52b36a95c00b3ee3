"""Whole training runs: what is published, what is said, and what is not trained again."""

import sys
from collections.abc import Callable
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
from trainer.export import precision
from trainer.model_card import JSON, Backbone, Card, InputSpec
from trainer.network import assemble
from trainer.training import bottleneck_features as features
from trainer.training import stages
from trainer.training.describe import figure_lines

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
    said = f"validation: 6 photos, accuracy {card.metrics['validation']['accuracy']} (95 % interval "
    assert said in trained.out
    assert "cross-validation: 20 photos, accuracy" in trained.out
    assert "optimistic" not in trained.out


def test_no_path_is_published_and_the_run_keeps_its_files_and_the_cache(trained: Trained) -> None:
    for name in ("config.toml", "history.json", "card.json"):
        assert str(trained.folder) not in (trained.version / "assets.extra" / name).read_text()
    kept = {one.name for one in trained.run.iterdir()}
    assert {"config.toml", "history.json", "evaluation.json", "report.html"} <= kept
    assert "state" not in kept
    assert list((trained.folder / "runs" / "cache").glob("features-*"))


def test_a_version_can_be_made_again_from_the_file_of_its_run(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BATCH_SIZE", 0)  # nothing is computed by the backbone
    status, _, error = trained.command("train", "--config", trained.run / "config.toml", "--name", "again")
    assert status == 0, error
    assert card_of(trained.folder / "models" / "again" / "1").metrics == card_of(trained.version).metrics


def test_added_photos_need_only_their_own_features_and_a_new_label_becomes_a_class(
    trained: Trained, tmp_path: Path, write_photos: WriteFolder
) -> None:
    more = write_photos(tmp_path / "more", {"Red": 2, "unused": 0, "blue": 5}, first=500)
    (more / "unused").rmdir()
    others = write_photos(tmp_path / "others", {"green": 1}, first=700)
    status, out, error = trained.train("more", "--add", more, "--add", others)
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
    assert str(tmp_path) not in (version / "assets.extra" / "config.toml").read_text()
    (run,) = (trained.folder / "runs" / "more").iterdir()
    assert make(read(run / "config.toml")).add == (str(more), str(others))


def test_a_logistic_head_is_the_same_bit_for_bit_and_needs_no_seed(trained: Trained) -> None:
    status, out, error = trained.train("seeded", "--seed", "7", "--dropout", "0.4", "--patience", "3")
    assert status == 0, error
    assert "warning: --dropout, --patience changes nothing in a logistic head" in out
    versions = trained.version, trained.folder / "models" / "seeded" / "1"
    for one, other in zip(*map(weights_of, versions), strict=True):
        np.testing.assert_array_equal(one, other)
    cards = [card_of(version) for version in versions]
    assert cards[0].temperature == cards[1].temperature


def test_classes_that_are_named_like_splits_are_trained_and_evaluated(
    trainer: Trainer, tmp_path: Path, write_photos: WriteFolder
) -> None:
    photos = write_photos(tmp_path / "photos", dict.fromkeys(("train", "bus", "test"), 12))
    status, out, error = trainer("train", photos, "--name", "any", *TINY, "--epochs", "1", "--views", "1")
    assert status == 0, out + error
    version = tmp_path / "models" / "any" / "1"
    assert card_of(version).labels == ("bus", "test", "train")
    status, out, error = trainer("evaluate", version, photos, "--output", tmp_path / "evaluation")
    assert status == 0, out + error
    assert out.startswith("36 photos: accuracy")


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
    for chosen in ("float32", "bfloat16"):
        status, _, error = trained.train("precise", "--precision", chosen)
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
    [said] = [line for line in figure_lines(card) if line.startswith("label sets")]
    assert "contain the true label of 95.1% of the validation photos" in said
    assert said.endswith("so the figure is optimistic") != cross_validated


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
    assert (artifacts / "report.html").is_file()
    assert (artifacts / "model" / "1" / "saved_model.pb").is_file()


def test_mlflow_is_missed_before_anything_slow(trainer: Trainer, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, _, error = trainer("train", data, "--name", "colours", *TINY, "--mlflow")
    assert status == 1
    assert "pip install 'breed-gateway[mlflow]'" in error
