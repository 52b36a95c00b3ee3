"""An exported model that knows three colours."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.trainer.evaluation.colours import COLOURS
from trainer.export.saved_model import export_model
from trainer.model_card import Backbone, Card, InputSpec


@pytest.fixture(scope="package")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says which of three colours a picture has most of: logits are a tenth of the mean values."""
    images = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(3, 1, use_bias=False)(images)
    outputs = keras.layers.Dense(3, use_bias=False)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(images, outputs)
    model.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3), np.eye(3, dtype=np.float32) / 10])
    card = Card(
        "colours",
        tuple(COLOURS),
        InputSpec(8, 8),
        Backbone("colour", "none"),
        unknown_threshold=0.9,
        label_sets={"coverage": 0.95, "least_score": 0.3},
    )
    directory = tmp_path_factory.mktemp("models") / "colours" / "3"
    directory.mkdir(parents=True)
    export_model(model, card, directory, batch_sizes=(1,))
    return directory
