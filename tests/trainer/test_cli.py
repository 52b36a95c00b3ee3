"""The command line: help, settings, and errors in one line."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder
from trainer.config import Config, make
from trainer.config_sources import RECIPES, read
from trainer.errors import TrainerError

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]

TINY = (*tiny.OPTIONS, "--force")


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def test_the_settings_of_a_recipe_are_shown_without_training(trainer: Trainer, tmp_path: Path) -> None:
    status, out, _ = trainer("train", "--recipe", "cats-dogs", "--show", "--dropout", "0.1")
    assert status == 0
    shown = tomllib.loads(out)
    assert (shown["size"], shown["fine_tune_batch_size"], shown["dropout"]) == (256, 8, 0.1)
    assert {key: shown[key] for key in RECIPES["cats-dogs"] if key != "dropout"} == {
        key: value for key, value in RECIPES["cats-dogs"].items() if key != "dropout"
    }
    assert not (tmp_path / "models").exists()


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
        (("train", "{data}", "--name", "x", "--precision", "float16"), 2, "invalid choice: 'float16'"),
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
