"""The command line: help, settings, and errors in one line."""

import logging
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from testing.polling import DEADLINE_SECONDS
from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder
from trainer import config_sources
from trainer.config import DEFAULT_BACKBONE, Config, make
from trainer.config_sources import read
from trainer.data.views import VIEWS
from trainer.errors import TrainerError
from trainer.model_card import Card
from trainer.network import backbones
from trainer.training import export_trial

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]

TINY = (*tiny.OPTIONS, "--force")


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


RECIPES = {
    "accurate": {"backbone": "efficientnet_lite2", "size": 288, "head": "auto"},
    "dog-breeds": {"backbone": "densenet201", "head": "dense", "dropout": 0.3, "views": 8},
    "cats-dogs": {
        "backbone": "vgg16", "size": 256, "hidden": 256, "dropout": 0.5, "output": "sigmoid", "epochs": 0,
        "fine_tune": 4, "fine_tune_batch_size": 8, "optimizer": "rmsprop", "fine_tune_learning_rate": 1e-4,
        "schedule": "constant", "label_smoothing": 0.0, "rotation": 40.0, "shift": 0.2, "shear": 0.2, "zoom": 0.2,
        "flip": True,
    },
}  # fmt: skip
"""What each recipe has to set, in numbers that docs/training.md states."""


@pytest.mark.parametrize("name", config_sources.RECIPES)
def test_the_settings_of_a_recipe_are_shown_without_training(name: str, trainer: Trainer, tmp_path: Path) -> None:
    status, out, _ = trainer("train", "--recipe", name, "--show", "--patience", "7")
    assert status == 0
    settings = tomllib.loads(out)
    assert settings["patience"] == 7
    assert {key: settings[key] for key in RECIPES[name]} == RECIPES[name]
    assert not (tmp_path / "models").exists()


def test_the_accurate_recipe_takes_larger_photos(trainer: Trainer) -> None:
    status, out, _ = trainer("train", "--recipe", "accurate", "--show")
    assert status == 0
    settings = tomllib.loads(out)
    size = backbones.architecture(settings["backbone"]).size
    assert (settings["backbone"], settings["size"], settings["size"] > size) == (DEFAULT_BACKBONE, 288, True)


def test_defaults_are_a_logistic_head_on_photos_and_their_mirror_images_without_label_smoothing() -> None:
    config = make({"data": "x", "name": "x"})
    assert config.logistic
    assert VIEWS[: config.views] == ("plain", "flip")
    assert config.label_smoothing == 0
    for dense in ({"hidden": 8}, {"head": "dense"}):
        assert not make({"data": "x", "name": "x", **dense}).logistic


def test_warnings_of_tensorflow_about_retracing_do_not_reach_the_user(trainer: Trainer, tmp_path: Path) -> None:
    logger = logging.getLogger("tensorflow")
    level = logger.level
    try:
        logger.setLevel(logging.NOTSET)
        assert trainer("list", "--models-dir", tmp_path)[0] == 0
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    finally:
        logger.setLevel(level)


def test_a_network_that_cannot_be_exported_is_refused_before_photos_are_read(
    trainer: Trainer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_model: keras.Model, card: Card) -> None:
        raise TrainerError(f"{card.backbone.name} cannot be exported; choose another --backbone")

    monkeypatch.setattr(export_trial, "try_export", refuse)
    status, _, error = trainer("train", data, "--name", "x", *TINY, "--size", "48")  # a size that was not tried before
    assert (status, error) == (1, "breed-trainer train: tiny cannot be exported; choose another --backbone\n")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
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
        (("train", "{data}", "--name", "x", "--precision", "float16"), 2, "invalid choice: 'float16'"),
        (("fly",), 2, "invalid choice: 'fly'"),
        ((), 2, "the following arguments are required: COMMAND"),
        (("imagenet-dogs", "--weights", "no.h5"), 3, "the file no.h5 does not exist"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: tuple[str, ...], status: int, message: str, trainer: Trainer, data: Path
) -> None:
    actual_status, _, error = trainer(*(one.replace("{data}", str(data)) for one in arguments))
    assert (actual_status, message in error.strip().splitlines()[-1]) == (status, True), error
    assert "Traceback" not in error
    assert "Reading photos" not in error


def test_a_sigmoid_for_three_classes_is_refused_before_photos_are_read(
    trainer: Trainer, write_photos: WriteFolder, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", {"red": 5, "green": 5, "blue": 5})
    status, _, error = trainer("train", photos, "--name", "x", *TINY, "--output", "sigmoid")
    assert status == 1
    assert error.endswith("has 3; use --output softmax\n")
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
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "examples:" in process.stdout
    for command in ("train", "imagenet-dogs", "evaluate", "export", "publish", "list", "promote", "rollback", "prune"):
        assert f"\n    {command}" in process.stdout


def test_a_configuration_file_holds_every_setting_and_refuses_what_is_none(tmp_path: Path) -> None:
    config = make({**config_sources.RECIPES["cats-dogs"], "data": "photos", "name": "x"})
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert make(read(path)) == config
    assert set(tomllib.loads(config.to_toml())) == set(Config.__dataclass_fields__)
    for text, message in (
        ("droput = 0.1", "unknown setting 'droput'"),
        ("epochs = 1.5", "epochs must be an integer, not 1.5"),
        ('fit = "stretch"', "fit must be 'crop' or 'pad' or 'squash', not 'stretch'"),
        ("epochs = ", "is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(TrainerError, match=message):
            read(path)
