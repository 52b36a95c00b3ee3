"""A `.keras` file, which `keras.models.load_model` reads. The card is a file in it, because it is a zip archive."""

import zipfile
from pathlib import Path

import keras
import tensorflow as tf

from trainer.export.formats import CARD_FILE, Reference, Runner, one_by_one
from trainer.export.keras_copies import load_keras
from trainer.export.precision import Precision
from trainer.export.signatures import EMBEDDING, split_at_features
from trainer.export.tf_logging import quiet
from trainer.model_card import Card


def write(model: keras.Model, card: Card, path: Path, precision: Precision, reference: Reference) -> None:  # noqa: ARG001
    """Writes the file, without its card."""
    logits, _, features = split_at_features(model)[0].output
    network = keras.Model(model.input, [logits, features], name=model.name)
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    logits, features = network(keras.ops.cast(images, "float32"))
    scaled = keras.layers.Rescaling(1 / card.temperature, dtype="float32")(logits)
    if scaled.shape[-1] == 1:
        scaled = keras.layers.Concatenate()([-scaled, scaled])
        probabilities = keras.layers.Activation("sigmoid", name="probabilities")(scaled)
    elif card.multi_label:
        probabilities = keras.layers.Activation("sigmoid", name="probabilities")(scaled)
    else:
        probabilities = keras.layers.Softmax(name="probabilities")(scaled)
    embedding = keras.layers.UnitNormalization(name=EMBEDDING)(features)
    with quiet():
        keras.Model(images, {"probabilities": probabilities, EMBEDDING: embedding}, name=model.name).save(path)


def runner(path: Path) -> Runner:
    """Loads a file into Keras."""
    model = load_keras(path)
    call = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=False)
    return one_by_one(call)


def add_card(path: Path, text: str) -> None:
    """Adds the card to a file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD_FILE, text)


def read_card(path: Path) -> str:
    """Returns the card in a file."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(CARD_FILE).decode()
