"""The command line: whole training runs, and errors in one line."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import pytest

from gateway.observability.answer_metrics import Baseline
from tests.trainer import tiny
from trainer.cli import main
from trainer.config import RECIPES, Config, make, read
from trainer.errors import TrainerError
from trainer.export import precision
from trainer.model_card import Card
from trainer.network import assemble
from trainer.training import bottleneck_features as features

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]

TINY = (*tiny.OPTIONS, "--force")


class WriteFolder(Protocol):
    def __call__(self, folder: Path, classes: dict[str, int], *, first: int = 0) -> Path: ...


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def card_of(version: Path) -> Card:
    return Card.from_json((version / "assets.extra" / "card.json").read_text())


def weights_of(version: Path) -> list[np.ndarray]:
    model = keras.models.load_model(version / "assets.extra" / "model.keras", compile=False)
    return [np.asarray(weight) for weight in model.get_weights()]


def test_a_folder_of_photos_becomes_a_published_version_that_can_be_made_again_from_its_file(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, error = trainer("train", data, "--name", "colours", "--noun", "colour", *TINY)
    assert status == 0, error
    version = tmp_path / "models" / "colours" / "1"
    card = card_of(version)
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
    assert f"validation: 6 photos, accuracy {card.metrics['validation']['accuracy']} (95 % interval " in out
    assert str(tmp_path) not in card.to_json()
    for name in ("config.toml", "history.json", "card.json"):
        assert str(tmp_path) not in (version / "assets.extra" / name).read_text()
    (run,) = (tmp_path / "runs" / "colours").iterdir()
    assert {"config.toml", "history.json", "evaluation.json", "report.html"} <= {one.name for one in run.iterdir()}
    assert not (run / "state").exists()

    # Again from the file that was written: nothing is computed by the backbone, and the outcome is the same.
    monkeypatch.setattr(features, "BATCH_SIZE", 0)
    status, _, error = trainer("train", "--config", run / "config.toml")
    assert status == 0, error
    assert card_of(version.parent / "2").metrics == card.metrics


def test_added_photos_need_only_their_own_features_and_a_new_label_becomes_a_class(
    trainer: Trainer, data: Path, tmp_path: Path, write_photos: WriteFolder
) -> None:
    status, _, error = trainer("train", data, "--name", "colours", *TINY)
    assert status == 0, error
    more = write_photos(tmp_path / "more", {"Red": 2, "unused": 0, "blue": 5}, first=500)
    (more / "unused").rmdir()
    others = write_photos(tmp_path / "others", {"green": 1}, first=700)
    command = ["train", data, "--add", more, "--add", others, "--name", "colours", *TINY]
    status, out, error = trainer(*command)
    assert status == 0, error
    assert "Computing features: 16/16" in error  # 8 photos in 2 views
    assert "8 of the training photos were added, of these classes: blue, green, red" in out
    assert "new classes: blue; validation has no photos of them, cross-validation covers them" in out
    version = tmp_path / "models" / "colours" / "2"
    card = card_of(version)
    assert card.labels == ("red", "green", "blue")
    assert card.training["added"] == {"blue": 5, "green": 1, "red": 2}
    assert card.metrics["validation"]["photos"] == card_of(version.parent / "1").metrics["validation"]["photos"]
    assert card.metrics["cross-validation"]["photos"] == 28
    assert str(tmp_path) not in (version / "assets.extra" / "config.toml").read_text()

    _, run = sorted((tmp_path / "runs" / "colours").iterdir(), key=lambda one: one.stat().st_mtime)
    status, _, error = trainer("train", "--config", run / "config.toml")
    assert status == 0, error
    assert card_of(version.parent / "3").metrics == card.metrics


@pytest.mark.parametrize("classes", [("train", "bus", "test"), ("1 euro", "2 euro"), ("0-2", "4-6", "60-100")])
def test_classes_of_any_name_are_trained_evaluated_and_evaluated_again(
    trainer: Trainer, tmp_path: Path, write_photos: WriteFolder, classes: tuple[str, ...]
) -> None:
    photos = write_photos(tmp_path / "photos", dict.fromkeys(classes, 12))
    status, out, error = trainer("train", photos, "--name", "any", *TINY, "--epochs", "1", "--views", "1")
    assert status == 0, out + error
    version = tmp_path / "models" / "any" / "1"
    assert card_of(version).labels == tuple(sorted(classes))
    status, out, error = trainer("evaluate", version, photos, "--output", tmp_path / "evaluation")
    assert status == 0, out + error
    assert out.startswith(f"{12 * len(classes)} photos: accuracy")


def test_a_logistic_head_is_the_same_bit_for_bit_and_needs_no_seed(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    # Random weights would differ by the seed.
    network = assemble.build(make({"data": "x", "name": "x", "backbone": "tiny", "size": 32, "weights": "none"}), 2)
    network.backbone.save_weights(tmp_path / "tiny.weights.h5")
    command = ["train", data, "--name", "colours", *TINY, "--weights", tmp_path / "tiny.weights.h5"]
    for seed in ("0", "7"):
        status, _, error = trainer(*command, "--seed", seed)
        assert status == 0, error
    versions = [tmp_path / "models" / "colours" / version for version in ("1", "2")]
    for one, other in zip(*map(weights_of, versions), strict=True):
        np.testing.assert_array_equal(one, other)
    cards = [card_of(version) for version in versions]
    assert cards[0].temperature == cards[1].temperature


def test_what_a_logistic_head_makes_no_use_of_is_said(trainer: Trainer, data: Path) -> None:
    status, out, error = trainer("train", data, "--name", "colours", *TINY, "--dropout", "0.4", "--patience", "3")
    assert status == 0, error
    assert "warning: --dropout, --patience changes nothing in a logistic head" in out


def test_a_dense_head_says_that_its_validation_is_optimistic_and_a_logistic_head_does_not_need_to(
    trainer: Trainer, data: Path
) -> None:
    command = ["train", data, "--name", "colours", *TINY]
    _, out, _ = trainer(*command, "--hidden", "4", "--epochs", "2")
    assert "so accuracy on them is optimistic" in out
    assert "cross-validation" not in out
    _, out, _ = trainer(*command)
    assert "optimistic" not in out
    assert "cross-validation: 20 photos, accuracy" in out


def test_the_settings_of_a_recipe_are_shown_without_training(trainer: Trainer, tmp_path: Path) -> None:
    status, out, _ = trainer("train", "--recipe", "cats-dogs", "--show", "--dropout", "0.1")
    assert status == 0
    shown = tomllib.loads(out)
    assert (shown["size"], shown["fine_tune_batch_size"], shown["dropout"]) == (256, 8, 0.1)
    assert {key: shown[key] for key in RECIPES["cats-dogs"] if key != "dropout"} == {
        key: value for key, value in RECIPES["cats-dogs"].items() if key != "dropout"
    }
    assert not (tmp_path / "models").exists()


def test_the_cache_lies_in_the_folder_of_runs(data: Path, tmp_path: Path) -> None:
    places = ["--models-dir", f"{tmp_path}/models", "--runs-dir", f"{tmp_path}/elsewhere"]
    assert main(["train", str(data), "--name", "colours", *TINY, *places]) == 0
    assert list((tmp_path / "elsewhere" / "cache").glob("features-*"))


def test_bfloat16_is_tried_before_the_training_and_another_precision_goes_on_with_the_same_run(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.training import stages

    command = ["train", data, "--name", "colours", *TINY, "--epochs", "2", "--views", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(precision, "_OPTIMIZERS", ("pruning",))  # as on a processor that cannot
        patch.setattr(stages.Stages, "run", None)
        status, _, error = trainer(*command, "--precision", "bfloat16")
    assert status == 1
    assert "bfloat16 is not available" in error.splitlines()[-1]
    status, _, error = trainer(*command)
    assert status == 0, error
    assert len(list((tmp_path / "runs" / "colours").iterdir())) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf")
def test_a_model_is_trained_in_int8_and_exported_again_in_another_precision(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    pytest.importorskip("nncf", reason="NNCF is not installed")
    loose = ("--precision", "int8", "--max-accuracy-loss", "100", "--min-same-top1", "0")
    status, out, error = trainer("train", data, "--name", "colours", *TINY, "--epochs", "1", "--views", "1", *loose)
    assert status == 0, error
    assert "OpenVINO in int8: " in out
    model = tmp_path / "models" / "colours"
    quantization = card_of(model / "1").quantization
    assert quantization is not None
    assert (quantization["calibration_photos"], quantization["validation_photos"]) == (20, 6)

    status, _, error = trainer("export", model, "--precision", "int8")
    assert status == 1
    assert "int8 needs photos that the model knows, to quantise with and to measure on: give DATA; breed" in error
    places = ("--models-dir", model.parent, "--cache-dir", tmp_path / "cache")
    status, out, error = trainer("export", model, *places)
    assert status == 0, error
    assert f"{model / '1'} is published as colours version 2: {model / '2'}" in out
    again = card_of(model / "2")
    assert again.quantization is None
    assert (again.labels, again.metrics) == (card_of(model / "1").labels, card_of(model / "1").metrics)
    assert (model / "2" / "assets.extra" / "config.toml").is_file()
    status, out, error = trainer("export", model / "2", data, *places, *loose)
    assert status == 0, error
    assert card_of(model / "3").quantization == quantization


def test_the_last_layers_are_fine_tuned_to_a_sigmoid_for_two_classes(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    status, _, error = trainer(
        "train", data, "--name", "colours", "--recipe", "cats-dogs", *TINY, "--pooling", "avg", "--hidden", "8",
        "--fine-tune-epochs", "2", "--views", "2",
    )  # fmt: skip
    assert status == 0, error
    version = tmp_path / "models" / "colours" / "1"
    card = card_of(version)
    assert card.labels == ("red", "green")
    model = keras.models.load_model(version / "assets.extra" / "model.keras", compile=False)
    assert model.output_shape == (None, 1)
    assert getattr(model, "optimizer", None) is None


def test_fine_tuning_that_ruins_the_model_is_taken_back(
    trainer: Trainer, write_photos: WriteFolder, tmp_path: Path
) -> None:
    colours = ("red", "green", "blue", "yellow")  # more than a ruined network gets right by chance
    data = write_photos(tmp_path / "photos" / "train", dict.fromkeys(colours, 10)).parent
    write_photos(data / "valid", dict.fromkeys(colours, 8), first=100)
    tuning = ["--fine-tune", "4", "--fine-tune-epochs", "2", "--fine-tune-learning-rate", "9"]
    head = ["--epochs", "10", "--views", "1", "--learning-rate", "0.05"]
    status, out, error = trainer("train", data, "--name", "colours", *TINY, *head, *tuning)
    assert status == 0, error
    assert "fine-tuning did not improve" in out
    version = tmp_path / "models" / "colours" / "1"
    status, out, error = trainer("evaluate", version, data / "valid", "--output", tmp_path / "evaluation")
    assert status == 0, error
    measured = re.match(r"32 photos: accuracy ([\d.]+)", out)
    assert measured, out
    assert float(measured[1]) >= 0.75  # a ruined network gets one in four right


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


def test_mixed_precision_is_exported_in_float32(trainer: Trainer, data: Path, tmp_path: Path) -> None:
    mixed = ("--training-precision", "mixed_float16")
    status, _, error = trainer("train", data, "--name", "colours", *TINY, "--epochs", "1", "--views", "1", *mixed)
    assert status == 0, error
    file = tmp_path / "models" / "colours" / "1" / "assets.extra" / "model.keras"
    model = keras.models.load_model(file, compile=False)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("train", "no/such/folder", "--name", "x"), 1, "no/such/folder is not a folder"),
        (("train", "{data}"), 1, "no model name"),
        (("train", "{data}", "--name", "../x"), 1, "is not a model name"),
        (("train", "{data}", "--name", "x", "--backbone", "resnet5"), 1, "unknown backbone 'resnet5'"),
        (("train", "{data}", "--name", "x", "--hidden", "8", "--head", "logistic"), 1, "or use --head dense"),
        (("train", "{data}", "--name", "x", "--weights", "no.h5"), 3, "the file no.h5 does not exist"),
        (("train", "{data}", "--name", "x", "--dropout", "2"), 1, "dropout must be from 0 to 0.95, not 2"),
        (("train", "{data}", "--name", "x", "--alpha", "0.5", "--backbone", "vgg16"), 1, "has no width multiplier"),
        (("train", "{data}", "--name", "x", "--config", "{data}/none.toml"), 1, "cannot read"),
        (("train", "{data}", "--name", "x", "--add", "{data}/none"), 1, "none does not exist"),
        (("train", "{data}", "--name", "x", "--epochs", "many"), 2, "invalid int value: 'many'"),
        (("fly",), 2, "invalid choice: 'fly'"),
        ((), 2, "the following arguments are required: COMMAND"),
        (("imagenet-dogs", "--weights", "no.h5"), 3, "the file no.h5 does not exist"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: tuple[str, ...], status: int, said: str, trainer: Trainer, data: Path
) -> None:
    found, _, error = trainer(*(one.replace("{data}", str(data)) for one in arguments))
    assert (found, said in error.strip().splitlines()[-1]) == (status, True), error
    assert "Traceback" not in error
    assert "Reading photos" not in error


def test_a_sigmoid_for_three_classes_is_refused_before_photos_are_read(
    trainer: Trainer, write_photos: WriteFolder, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", {"red": 5, "green": 5, "blue": 5})
    status, _, error = trainer("train", photos, "--name", "x", *TINY, "--output", "sigmoid")
    assert status == 1
    assert error.endswith("has 3: use --output softmax\n")
    assert "Reading photos" not in error


def test_weights_of_another_network_are_refused_in_one_line(trainer: Trainer, data: Path, tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    arguments = ("train", data, "--name", "x", "--backbone", "mobilenet", "--weights", tmp_path / "other.weights.h5")
    status, _, error = trainer(*arguments)
    assert status == 3
    assert "does not fit mobilenet" in error.splitlines()[-1]


def test_help_teaches_without_loading_tensorflow() -> None:
    code = "import sys; from trainer.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "examples:" in found.stdout
    for command in ("train", "imagenet-dogs", "evaluate", "export", "publish", "list", "promote", "rollback", "prune"):
        assert f"\n    {command}" in found.stdout


def test_a_configuration_file_holds_every_setting_and_refuses_what_is_none(tmp_path: Path) -> None:
    config = make({**RECIPES["cats-dogs"], "data": "photos", "name": "x"})
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert make(read(path)) == config
    assert set(tomllib.loads(config.to_toml())) == set(Config.__dataclass_fields__)
    for text, said in (
        ("droput = 0.1", "unknown setting 'droput'"),
        ("epochs = 1.5", "epochs must be an integer, not 1.5"),
        ('fit = "stretch"', "fit must be 'crop' or 'pad' or 'squash', not 'stretch'"),
        ("epochs = ", "is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(TrainerError, match=said):
            read(path)


def test_a_run_is_logged_for_tensorboard_and_mlflow(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a store without a server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow.set_tracking_uri(None)  # read it from the environment
    command = ["train", data, "--name", "colours", *TINY, "--head", "dense", "--epochs", "3", "--patience", "9"]
    status, out, error = trainer(*command, "--tensorboard", "--mlflow")
    assert status == 0, error
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
