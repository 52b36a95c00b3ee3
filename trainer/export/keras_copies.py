"""`model.keras` and `model.h5` beside a SavedModel: the same model for Keras, with temperature and activation."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from trainer.export.tf_logging import quiet
from trainer.model_card import Card
from trainer.network.kerashub import import_if_needed


def save_keras(model: keras.Model, card: Card, extra: Path) -> bool:
    """Writes `model.keras` and `model.h5`.

    Returns:
        Whether there is a `model.h5`. It is deleted unless Keras reads back the same layers with exactly the same
        weights, because HDF5 cannot store every network.
    """
    logits = keras.layers.Rescaling(1 / card.temperature, name="temperature", dtype="float32")(model.output)
    sigmoid = card.multi_label or logits.shape[-1] == 1
    activation = keras.layers.Activation("sigmoid" if sigmoid else "softmax", name="probabilities")
    plain = keras.Model(model.input, activation(logits), name=model.name)  # without optimiser and loss
    with quiet():
        plain.save(extra / "model.keras")
        try:
            plain.save(extra / "model.h5")
            read = keras.models.load_model(extra / "model.h5", compile=False)
            same = read.to_json() == plain.to_json() and all(
                map(np.array_equal, read.get_weights(), plain.get_weights())
            )
        except (ValueError, TypeError):
            same = False
    if not same:
        (extra / "model.h5").unlink(missing_ok=True)
    return same


def load_keras(path: Path) -> keras.Model:
    """Loads a `.keras` file, with KerasHub if its network is from there.

    Raises:
        TrainerError: It needs KerasHub, which is not installed.
        ValueError: It is not a `.keras` file.
        OSError: It cannot be read.
    """
    if zipfile.is_zipfile(path):
        import_if_needed(path)
    with quiet():
        return keras.models.load_model(path, compile=False)


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the part of a `model.keras` that computes logits. In older versions, that is all of it."""
    if "temperature" not in {layer.name for layer in model.layers}:
        return model
    return keras.Model(model.input, model.get_layer("temperature").input, name=model.name)
