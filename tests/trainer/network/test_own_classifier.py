"""A classifier in a `.keras` file: what it is made into before it is exported."""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.applications.imagenet_utils import preprocess_input

from trainer.errors import TrainerError
from trainer.export.signatures import split_at_features
from trainer.network.own_classifier import load_classifier

# Keras 3.15 writes TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)

layers, ops = keras.layers, keras.ops


def saved(path: Path, *ends: keras.layers.Layer, units: int = 3, activation: str | None = None) -> keras.Model:
    """Saves a network with a model inside it; two of their layers have the same name."""
    keras.utils.set_random_seed(0)
    inside = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3, name="same"), layers.BatchNormalization()])
    photos = keras.Input((16, 16, 3))
    maps = layers.Conv2D(4, 3, activation="relu", name="same")(inside(photos))
    outputs = layers.Dense(units, activation, name="scores")(layers.GlobalAveragePooling2D()(maps))
    for layer in ends:
        outputs = layer(outputs)
    model = keras.Model(photos, outputs)
    model.save(path)
    return model


@pytest.mark.parametrize(
    ("preprocessing", "preprocess"),
    [
        ("none", lambda images: images),
        ("rescale", lambda images: images / 255),
        ("caffe", lambda images: preprocess_input(images.copy(), "channels_last", "caffe")),
        ("torch", lambda images: preprocess_input(images.copy(), "channels_last", "torch")),
        ("tf", lambda images: preprocess_input(images.copy(), "channels_last", "tf")),
    ],
)
def test_pixels_are_normalised_in_the_model_as_they_were_before_it(
    preprocessing: str, preprocess: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    own = saved(tmp_path / "own.keras")
    model, scales_pixels = load_classifier(str(tmp_path / "own.keras"), preprocessing, 3)
    assert np.asarray(model(IMAGES)) == pytest.approx(np.asarray(own(preprocess(IMAGES))), rel=1e-3, abs=1e-4)
    assert not scales_pixels
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    split, tail = split_at_features(model)
    logits, maps, features = split(IMAGES)
    assert np.asarray(tail(maps)) == pytest.approx(np.asarray(logits), rel=1e-3, abs=1e-4)
    assert (maps.shape, features.shape) == ((4, 12, 12, 4), (4, 4))


@pytest.mark.parametrize(
    ("ends", "units", "activation"),
    [
        ((), 3, "softmax"),
        ((layers.Activation("softmax"),), 3, None),
        ((layers.Softmax(),), 3, None),
        ((), 1, "sigmoid"),
        ((layers.Activation("sigmoid"),), 1, None),
        ((layers.Reshape((1,)),), 1, "sigmoid"),
        ((layers.Activation("linear", dtype="float32"),), 3, "softmax"),
        ((layers.Softmax(), layers.Identity()), 3, None),
    ],
)
def test_a_softmax_or_sigmoid_at_the_end_is_taken_off(
    ends: tuple[keras.layers.Layer, ...], units: int, activation: str | None, tmp_path: Path
) -> None:
    own = saved(tmp_path / "own.keras", *ends, units=units, activation=activation)
    model, _ = load_classifier(str(tmp_path / "own.keras"), "none", max(2, units))
    logits = model(IMAGES)
    again = keras.ops.softmax(logits) if units > 1 else keras.ops.sigmoid(logits)
    assert np.asarray(again) == pytest.approx(np.asarray(own(IMAGES)), abs=1e-5)
    assert np.ptp(np.asarray(logits)) > 1


def scales_pixels(path: Path) -> bool:
    return load_classifier(str(path), "none", 3)[1]


def test_layers_and_arithmetic_scale_pixels_if_they_come_before_the_first_weights(tmp_path: Path) -> None:
    own = saved(tmp_path / "own.keras")
    photos = keras.Input((16, 16, 3))
    keras.Model(photos, own(photos / 127.5 - 1)).save(tmp_path / "arithmetic.keras")
    keras.Model(photos, own(layers.Rescaling(1 / 255)(photos))).save(tmp_path / "layer.keras")
    keras.Model(photos, own(photos) / 2).save(tmp_path / "after.keras")
    names = ("own", "arithmetic", "layer", "after")
    assert [scales_pixels(tmp_path / f"{name}.keras") for name in names] == [False, True, True, False]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_mean_and_variance_of_pixels_are_kept(policy: str, tmp_path: Path) -> None:
    normalization = layers.Normalization()
    normalization.adapt(IMAGES)
    keras.config.set_dtype_policy(policy)
    try:
        own = saved(tmp_path / "part.keras")
        photos = keras.Input((16, 16, 3))
        whole = keras.Model(photos, own(keras.Sequential([normalization])(photos)))
        whole.save(tmp_path / "own.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    model, scales = load_classifier(str(tmp_path / "own.keras"), "none", 3)
    np.testing.assert_allclose(model(IMAGES), np.asarray(whole(IMAGES), np.float32), rtol=0.05, atol=0.05)
    assert scales


def test_a_layer_may_have_the_name_of_one_that_is_added(tmp_path: Path) -> None:
    photos = keras.Input((16, 16, 3))
    maps = layers.Conv2D(4, 3, name="normalise")(photos)
    own = keras.Model(photos, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    own.save(tmp_path / "own.keras")
    model, _ = load_classifier(str(tmp_path / "own.keras"), "rescale", 3)
    assert np.asarray(model(IMAGES)) == pytest.approx(np.asarray(own(IMAGES / 255)), abs=1e-4)


def with_an_operation(*operations: Callable[[keras.KerasTensor], keras.KerasTensor], units: int = 3) -> keras.Model:
    photos = keras.Input((16, 16, 3))
    scores = layers.Dense(units)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(photos)))
    for operation in operations:
        scores = operation(scores)
    return keras.Model(photos, scores)


def with_a_layer_used_twice(path: Path) -> None:
    twice = layers.Dense(3, "softmax")
    saved(path, twice, twice)


@pytest.mark.parametrize(
    ("save", "labels", "message"),
    [
        (lambda path: saved(path, units=4), 3, r"gives scores of shape \(None, 4\), and there are 3 labels"),
        (lambda path: saved(path, units=1), 3, r"gives scores of shape \(None, 1\), and there are 3 labels"),
        (lambda path: saved(path, activation="sigmoid"), 3, "ends in several sigmoids"),
        (lambda path: saved(path, activation="relu"), 3, "ends in relu; it must end in logits"),
        (lambda path: with_an_operation(ops.softmax).save(path), 3, "seems to give probabilities"),
        (lambda path: with_an_operation(ops.sigmoid, units=1).save(path), 2, "seems to give probabilities"),
        (lambda path: with_an_operation(ops.sigmoid).save(path), 3, "seems to give probabilities"),
        (lambda path: with_an_operation(ops.softmax, ops.log).save(path), 3, "or their logarithms"),
        (lambda path: with_an_operation(layers.Softmax(), ops.log).save(path), 3, "or their logarithms"),
        (with_a_layer_used_twice, 3, "cannot be published: its scores would differ by"),
    ],
)
def test_models_without_a_score_for_each_label_are_refused(
    save: Callable[[Path], object], labels: int, message: str, tmp_path: Path
) -> None:
    save(tmp_path / "own.keras")
    with pytest.raises(TrainerError) as refused:
        load_classifier(str(tmp_path / "own.keras"), "none", labels)
    assert re.search(message, str(refused.value))
