"""`model.keras` and `model.h5` beside a SavedModel: the same model for Keras, with temperature and activation."""

from pathlib import Path

import keras

from trainer.export.tf_logging import quiet
from trainer.model_card import Card


def save_keras(model: keras.Model, card: Card, extra: Path) -> keras.Model | None:
    """Writes `model.keras` and `model.h5`; returns the latter as read back, None where HDF5 cannot hold the network."""
    logits = keras.layers.Rescaling(1 / card.temperature, name="temperature", dtype="float32")(model.output)
    sigmoid = card.multi_label or logits.shape[-1] == 1
    activation = keras.layers.Activation("sigmoid" if sigmoid else "softmax", name="probabilities")
    plain = keras.Model(model.input, activation(logits), name=model.name)  # without optimiser and loss
    with quiet():
        plain.save(extra / "model.keras")
        try:
            plain.save(extra / "model.h5")
            return keras.models.load_model(extra / "model.h5", compile=False)
        except (ValueError, TypeError):
            (extra / "model.h5").unlink(missing_ok=True)
            return None


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the part of a `model.keras` that gives logits; those of older versions give nothing else."""
    if "temperature" not in {layer.name for layer in model.layers}:
        return model
    return keras.Model(model.input, model.get_layer("temperature").input, name=model.name)
