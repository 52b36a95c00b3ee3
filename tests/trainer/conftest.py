"""Small photos drawn on the spot, a small network, and the trainer's command line."""

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from trainer.model_card import Backbone, Card, InputSpec  # isort: skip - sets what TensorFlow reads when it is imported

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from testing.made_once import made_once
from trainer.cli import main

SIZE = 32


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_collect() -> None:
    """Exclude what earlier modules left behind from the garbage collections after each export."""
    gc.collect()
    gc.freeze()


class WriteFolder(Protocol):
    def __call__(self, folder: Path, classes: dict[str, int], *, first: int = 0) -> Path: ...


def picture(colour: tuple[int, int, int], seed: int, size: int = 48) -> NDArray[np.uint8]:
    """A blurred pattern of its own with a tint: no two look alike, those of one colour are one class."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8))
    pattern = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return (0.5 * pattern + 0.5 * np.array(colour, np.float32)).astype(np.uint8)


@pytest.fixture(scope="session")
def write_photos() -> WriteFolder:
    """Writes `folder/<class>/<number>.png`, each class in a colour of its own."""
    colours = [(230, 30, 30), (30, 230, 30), (30, 30, 230), (220, 220, 40)]

    def write(folder: Path, classes: dict[str, int], *, first: int = 0) -> Path:
        for at, (name, count) in enumerate(classes.items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(first, first + count):
                Image.fromarray(picture(colours[at], 1000 * at + number)).save(folder / name / f"{number}.png")
        return folder

    return write


@pytest.fixture
def data(tmp_path: Path, write_photos: WriteFolder) -> Path:
    """Photos of two classes, with a validation set."""
    return draw_data(tmp_path / "photos", write_photos)


def draw_data(folder: Path, write_photos: WriteFolder) -> Path:
    write_photos(folder / "train", {"001.red": 10, "002.green": 10})
    return write_photos(folder / "valid", {"001.red": 3, "002.green": 3}, first=100).parent


@pytest.fixture(scope="session")
def small_model() -> Callable[..., keras.Model]:
    """Builds an untrained network, pixels to logits, with batch normalisation that is not the identity."""

    def build(outputs: int = 3, *, flatten: bool = False, activation: str = "relu") -> keras.Model:
        keras.utils.set_random_seed(1)
        images = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1)(images)
        x = keras.layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False)(x)
        normalisation = keras.layers.BatchNormalization()
        x = keras.layers.Activation(activation)(normalisation(x))
        normalisation.set_weights([np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8), np.full(8, 0.1), np.full(8, 0.3)])
        x = keras.layers.Flatten()(x) if flatten else keras.layers.GlobalAveragePooling2D()(x)
        if flatten:
            x = keras.layers.Dense(8, activation="relu")(x)
        return keras.Model(images, keras.layers.Dense(outputs)(keras.layers.Dropout(0.5)(x)))

    return build


@pytest.fixture(scope="session")
def make_card() -> Callable[..., Card]:
    def make(labels: tuple[str, ...] = ("a", "b", "c"), **more: object) -> Card:
        fields: dict[str, object] = {
            "name": "small",
            "labels": labels,
            "input": InputSpec(SIZE, SIZE),
            "backbone": Backbone("small_cnn", "none"),
        }
        return Card(**(fields | more))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def exportable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes of the trainer about networks that it can export: only the first run of each kind tries it.

    Only their names count, so every process of a test run may add some at any time.
    """
    return made_once(tmp_path_factory, "exportable", lambda _: None)


@pytest.fixture
def trainer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exportable: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line with all its folders under tmp_path; returns exit status, stdout and stderr."""
    cache = tmp_path / "cache"

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        command = [str(one) for one in arguments]
        if command[:1] == ["train"]:
            command += ["--models-dir", f"{tmp_path}/models", "--runs-dir", f"{tmp_path}/runs"]
            command += ["--cache-dir", str(cache)]
            shutil.copytree(exportable, cache, dirs_exist_ok=True)
        try:
            status = main(command)
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    yield run
    for note in cache.glob("exportable-*"):
        (exportable / note.name).touch()
