"""A network as those of keras.applications, of few layers: being traced takes most of the time of a short run."""

from typing import Final

import keras
import numpy as np
import pytest

OPTIONS: Final = ("--backbone", "tiny", "--size", "32", "--weights", "none")


def add(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the backbone `tiny` known."""
    monkeypatch.setattr(keras.applications, "Tiny", build, raising=False)


def preprocess_input(images: np.ndarray, data_format: str) -> np.ndarray:
    assert data_format == "channels_last"
    return images / 127.5 - 1


def build(include_top: bool, input_shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    assert not include_top
    images = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=4, use_bias=False)(images)
    maps = keras.layers.ReLU()(keras.layers.BatchNormalization()(maps))
    maps = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(maps)
    model = keras.Model(images, keras.layers.ReLU()(keras.layers.BatchNormalization()(maps)), name="tiny")
    if weights:
        model.load_weights(weights)
    return model
