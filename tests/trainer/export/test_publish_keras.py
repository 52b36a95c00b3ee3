"""`publish` of a `.keras` file: a version that says everything about itself, as one that was trained here."""

import csv
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gateway.observability.answer_metrics import Baseline
from tests.trainer.conftest import WriteFolder
from tests.trainer.training.runs import card_of
from trainer.cli import main

# Keras 3.15 writes TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COLOURS = ("blue", "green", "red")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_photos: WriteFolder) -> Path:
    """A classifier of three colours that takes pixels from 0 to 1, its labels and photos, and the published version."""
    folder = tmp_path_factory.mktemp("own")
    write_photos(folder / "photos", {"red": 10, "green": 10, "blue": 10})
    photos = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(3, 1, use_bias=False, name="maps")
    scores = keras.layers.Dense(3, "softmax", use_bias=False, name="scores")
    model = keras.Model(photos, scores(keras.layers.GlobalAveragePooling2D()(maps(photos))))
    maps.set_weights([np.eye(3)[np.newaxis, np.newaxis, :, ::-1]])  # to BGR, as the labels are sorted
    scores.set_weights([30 * np.eye(3)])
    model.save(folder / "own.keras")
    (folder / "labels.txt").write_text("\n".join(COLOURS))
    arguments = ["publish", folder / "own.keras", "--name", "colours", "--models-dir", folder / "models"]
    arguments += ["--labels", folder / "labels.txt", "--preprocess", "rescale", "--fit", "squash", "--noun", "colour"]
    assert main([str(one) for one in (*arguments, "--photos", folder / "photos")]) == 0
    return folder


def test_it_has_a_card_a_calibration_and_heat_maps(folder: Path) -> None:
    version = folder / "models" / "colours" / "1"
    card = card_of(version)
    assert (card.labels, card.input.fit, card.noun, card.backbone.name) == (COLOURS, "squash", "colour", "own.keras")
    assert card.metrics["validation"]["accuracy"] == 1.0
    assert card.training["photos"] == {"validation": dict.fromkeys(COLOURS, 10)}
    assert (card.other_labels, card.unknown_threshold, card.label_sets["coverage"]) == ((None,), 0.9, 0.95)
    assert Baseline.model_validate(card.baseline).photos == 30
    assert str(folder) not in (version / "assets.extra" / "card.json").read_text()
    signatures = tf.saved_model.load(str(version)).signatures
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[:, :8, :, 0] = 230
    explained = signatures["explain"](images=tf.constant(red))
    heat = explained["heatmap"].numpy()[0]
    assert COLOURS[int(explained["probabilities"].numpy()[0].argmax())] == "red"
    assert heat[:8].min() == pytest.approx(1)
    assert heat[8:].max() == pytest.approx(0)


def test_it_can_be_evaluated_and_used_like_one_that_was_trained_here(
    folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    status, out, error = trainer("evaluate", folder / "models" / "colours", folder / "photos", "--output", tmp_path)
    assert status == 0, error
    assert "30 photos: accuracy 1.000" in out
    page = (tmp_path / "report.html").read_text()
    assert "also decided on temperature, threshold and label sets: figures on them are optimistic" in page
    output = tmp_path / "answers.csv"
    status, _, error = trainer("predict", folder / "models" / "colours", folder / "photos" / "red", "--output", output)
    assert status == 0, error
    with output.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label_1"] for row in rows] == ["red"] * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{folder}/none.keras",), "none.keras does not exist"),
        (("{folder}/own.keras",), "a .keras file has no class names: give --labels FILE"),
        (("{folder}/own.keras", "--labels", "{folder}/none.txt"), "cannot read"),
        (("{folder}/own.keras", "--labels", "{folder}/twice.txt"), "has 'red' twice; it must have one class name on"),
        (("{folder}/own.keras", "--labels", "{folder}/one.txt"), "has fewer than two names"),
        (("{folder}/own.keras", "--labels", "{folder}/four.txt"), "scores of shape (None, 3), and there are 4 labels"),
        (
            ("{folder}/own.keras", "--labels", "{folder}/labels.txt", "--photos", "{folder}/none"),
            "none is not a folder",
        ),
        (("{folder}/models/colours/1", "--labels", "{folder}/labels.txt"), "--labels: only for a .keras file"),
        (("{folder}/models/colours/1", "--force"), "--force: only for a .keras file"),
        (("{folder}/own.keras", "--untried"), "--untried: only for a SavedModel"),
        (("{folder}/folder.keras",), "folder.keras is not a file"),
        (
            ("{folder}/flat.keras", "--labels", "{folder}/labels.txt", "--photos", "{folder}/photos"),
            "the model has no layer whose output is a feature map",
        ),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: tuple[str, ...], message: str, folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    for name, labels in (("twice", "red red green"), ("one", "red"), ("four", "red green blue grey")):
        (folder / f"{name}.txt").write_text("\n".join(labels.split()))
    (folder / "folder.keras").mkdir(exist_ok=True)
    flat = [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    keras.Sequential(flat).save(folder / "flat.keras")
    command = [one.replace("{folder}", str(folder)) for one in arguments]
    status, _, error = trainer("publish", *command, "--name", "x", "--models-dir", tmp_path / "models")
    assert (status, message in error.strip().splitlines()[-1]) == (1, True), error
    assert "Calibrating" not in error
    assert not (tmp_path / "models").exists()


def test_a_model_that_does_not_scale_pixels_is_doubted_if_nothing_says_how_they_were_scaled(
    folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    labels = ("--labels", folder / "labels.txt", "--models-dir", tmp_path)
    status, out, error = trainer("publish", folder / "own.keras", "--name", "x", *labels)
    assert status == 0, error
    assert "warning: the model does not scale pixels; if they were scaled in training, add --preprocess" in out
    assert "not calibrated: --photos DATA sets the temperature" in out
    assert card_of(tmp_path / "x" / "1").unknown_threshold is None


def scaled(folder: Path) -> keras.Model:
    """The same classifier, but it scales pixels itself."""
    photos = keras.Input((16, 16, 3))
    own = keras.models.load_model(folder / "own.keras")
    return keras.Model(photos, own(keras.layers.Rescaling(1 / 255)(photos)))


def test_pixels_that_are_scaled_twice_are_a_warning(folder: Path, trainer: Trainer, tmp_path: Path) -> None:
    scaled(folder).save(tmp_path / "scaled.keras")
    labels = ("--labels", folder / "labels.txt", "--models-dir", tmp_path)
    for name, options in (("once", ()), ("twice", ("--preprocess", "rescale"))):
        status, out, error = trainer("publish", tmp_path / "scaled.keras", "--name", name, *labels, *options)
        assert status == 0, error
        assert ("warning: the model scales pixels itself, after --preprocess rescale" in out) == (name == "twice")
        assert "does not scale pixels" not in out


def test_a_model_no_better_than_guessing_is_published_only_with_force(
    folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("green\nred\nblue")  # not the order of the scores
    command = ["publish", folder / "own.keras", "--name", "x", "--models-dir", tmp_path / "models"]
    command += ["--labels", tmp_path / "labels.txt", "--preprocess", "rescale", "--photos", folder / "photos"]
    status, out, error = trainer(*command)
    assert status == 1
    assert "not published: its accuracy on 30 validation photos is 0.0%" in error.splitlines()[-1]
    assert "warning: the temperature is 20, the end of its range" in out
    assert not (tmp_path / "models").exists()
    status, _, error = trainer(*command, "--force")
    assert status == 0, error
    assert (tmp_path / "models" / "x" / "1").is_dir()


def test_mirror_images_do_not_calibrate_a_model_that_may_not_know_them(
    folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    """A model that answers by the left half of a photo, and is wrong about each mirror image."""
    photos = keras.Input((16, 16, 3))
    own = keras.models.load_model(folder / "own.keras")
    left = keras.layers.Cropping2D(((0, 0), (0, 8)))(photos)
    halves = keras.layers.Concatenate(axis=2)([left, left])
    keras.Model(photos, own(keras.layers.Rescaling(1 / 255)(halves))).save(tmp_path / "left.keras")
    for at, label in enumerate(COLOURS):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(10):
            pixels = np.zeros((16, 16, 3), np.uint8)
            pixels[:, :8, 2 - at] = pixels[:, 8:, 1 - at] = 200 + number
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    command = ["publish", tmp_path / "left.keras", "--name", "x", "--models-dir", tmp_path]
    command += ["--labels", folder / "labels.txt", "--fit", "squash", "--photos", tmp_path / "photos"]
    status, _, error = trainer(*command)
    assert status == 0, error
    card = card_of(tmp_path / "x" / "1")
    assert (card.temperature, card.metrics["validation"]["accuracy"]) == (1.0, 1.0)


def test_of_splits_with_tables_the_photos_for_validation_calibrate(
    folder: Path, trainer: Trainer, tmp_path: Path
) -> None:
    for split, numbers in {"train": range(6), "valid": range(6, 10), "test": range(5)}.items():
        (tmp_path / "data" / split).mkdir(parents=True)
        rows = ["filename, " + ", ".join(COLOURS)]
        for label in COLOURS:
            for number in numbers:
                pixels = np.zeros((16, 16, 3), np.uint8)
                pixels[:, :, 2 - COLOURS.index(label)] = 200 + number
                Image.fromarray(pixels).save(tmp_path / "data" / split / f"{label}{number}.png")
                rows.append(", ".join([f"{label}{number}.png", *(str(int(one == label)) for one in COLOURS)]))
        (tmp_path / "data" / split / "_classes.csv").write_text("\n".join(rows))
    command = ["publish", folder / "own.keras", "--name", "x", "--models-dir", tmp_path, "--preprocess", "rescale"]
    status, _, error = trainer(*command, "--labels", folder / "labels.txt", "--photos", tmp_path / "data")
    assert status == 0, error
    assert card_of(tmp_path / "x" / "1").training["photos"] == {"validation": dict.fromkeys(COLOURS, 4)}
