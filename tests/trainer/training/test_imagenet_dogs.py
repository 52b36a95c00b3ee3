"""The first model: breeds out of an ImageNet classifier."""

import os
from pathlib import Path

from trainer.model_card import Card  # isort: skip - sets what TensorFlow reads when it is imported

import keras
import numpy as np
import pytest

from testing import ROOT
from trainer.data.class_names import match_folders
from trainer.export.saved_classifier import SavedClassifier
from trainer.network import backbones
from trainer.network.imagenet_classes import BREEDS, NAMES, OTHER_NAMES, OTHERS
from trainer.training.imagenet_dogs import breeds_first

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TESTDATA = Path(os.environ.get("TESTDATA", ROOT.parent / "shared" / "testdata"))


def test_the_classes_of_imagenet_have_names_of_their_own() -> None:
    assert len(NAMES) == len(set(NAMES)) == 1000
    assert all(name == name.strip() and "_" not in name for name in NAMES)
    assert [NAMES[number] for number in (0, 151, 207, 247, 263, 268, 281, 999)] == [
        *("tench", "Chihuahua", "Golden Retriever", "Saint Bernard", "Pembroke Welsh Corgi", "Mexican Hairless Dog"),
        *("tabby", "toilet paper"),
    ]
    assert sorted([*BREEDS, *OTHERS]) == list(range(1000))


def test_a_breed_is_found_by_the_name_that_imagenet_has_for_it() -> None:
    labels = [NAMES[number] for number in BREEDS]
    folders = ["n02085782-Japanese_spaniel", "basset", "scotch_terrier", "Saint_Bernard", "Pembroke"]
    indexes = match_folders(folders, labels, {})
    assert [labels[indexes[folder]] for folder in folders] == [
        *("Japanese Chin", "Basset Hound", "Scottish Terrier", "Saint Bernard", "Pembroke Welsh Corgi")
    ]
    assert set(OTHER_NAMES.values()) <= set(labels)


def test_breeds_come_first_and_every_class_keeps_its_logit() -> None:
    which = backbones.architecture("mobilenet")
    classifier = backbones.load(which, "none", 32, alpha=0.25, top=True)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits = np.asarray(breeds_first(which, classifier)(images))
    expected = np.asarray(classifier(images / 127.5 - 1))
    np.testing.assert_allclose(logits, expected[:, [*BREEDS, *OTHERS]], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def first_model(first_models: Path) -> SavedClassifier:
    return SavedClassifier(first_models / "dog_breed")


@pytest.mark.slow
def test_the_first_model_knows_real_dogs_and_takes_cats_for_none(first_model: SavedClassifier) -> None:
    if not TESTDATA.is_dir():
        pytest.skip(f"needs the photos in {TESTDATA}")
    card: Card = first_model.card
    folders = sorted((TESTDATA / "dogs_natural").iterdir())
    labels = match_folders([folder.name for folder in folders], card.labels, {})
    photos = [(path, labels[folder.name]) for folder in folders for path in sorted(folder.iterdir())]
    answers = list(first_model.answers([path for path, _ in photos]))
    scores = [answer.probabilities for answer in answers if answer.probabilities is not None]
    assert np.mean(np.stack(scores).argmax(axis=1) == [label for _, label in photos]) >= 0.95
    assert card.unknown_threshold is not None
    assert np.mean([answer.known_score < card.unknown_threshold for answer in answers]) <= 0.02
    others = [*(TESTDATA / "not_dogs").iterdir(), *(TESTDATA / "cats_dogs" / "valid").glob("[Cc]at*/*")]
    named = [answer.known_score >= card.unknown_threshold for answer in first_model.answers(others)]
    assert len(named) == 60
    assert np.mean(named) <= 0.05


@pytest.mark.slow
def test_the_first_model_has_its_keras_file_and_it_agrees(first_model: SavedClassifier) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 260, 260, 3), np.uint8)
    model = keras.models.load_model(first_model.directory / "assets.extra" / "model.keras", compile=False)
    expected = first_model.probabilities(images)
    np.testing.assert_allclose(np.asarray(model(images.astype(np.float32))), expected, atol=1e-4)
