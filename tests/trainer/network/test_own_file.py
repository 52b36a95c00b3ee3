"""A `.keras` file of one's own as a backbone: what it computes, how it is trained and exported, what is refused."""

import importlib.util
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from trainer.model_card import Backbone, Card  # isort: skip - sets what TensorFlow reads when it is imported

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import make
from trainer.errors import TrainerError
from trainer.export.openvino_network import NETWORK
from trainer.export.saved_classifier import SavedClassifier
from trainer.model_card import InputSpec
from trainer.network import assemble, backbones
from trainer.training.bottleneck_features import Extractor

# Keras 3.15 writes TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIDE = 32

Trainer = Callable[..., tuple[int, str, str]]


def classifier(*, side: int | None = SIDE, activation: str = "relu") -> keras.Model:
    """A small network of photos in a model with preprocessing, pooling and a classifier of five classes."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    convolutions = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(8, 3, strides=4, padding="same", name="first"),
            layers.BatchNormalization(),
            layers.Activation(activation, name="between"),
            layers.Conv2D(8, 3, strides=2, padding="same", name="second"),
            layers.Activation(activation, name="last"),
            layers.GlobalAveragePooling2D(),
        ],
        name="convolutions",
    )
    photos = keras.Input((side, side, 3))
    return keras.Model(photos, layers.Dense(5)(convolutions(layers.Rescaling(1 / 127.5, -1)(photos))))


def saved(model: keras.Model, path: Path) -> str:
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(classifier(), tmp_path_factory.mktemp("own") / "my net.keras")


def built(name: str, **more: str | int) -> assemble.Network:
    return assemble.build(make({"data": "x", "name": "x", "backbone": name, **more}), 2)


def images(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("side", [SIDE, None])
def test_features_are_those_before_the_classifier_for_pixels_from_0_to_255(
    side: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = classifier(side=side)
    network = built(saved(model, tmp_path / "net.keras"), **({} if side else {"size": 64}))
    assert network.model.input_shape == (None, side or 64, side or 64, 3)
    photos = images(side or 64)
    expected = model.get_layer("convolutions")(photos / 127.5 - 1)
    np.testing.assert_allclose(network.features(photos), expected, rtol=1e-4, atol=1e-5)
    sentence = "net.keras: the features are the output of its layer convolutions/last, the last one with a feature map"
    assert sentence in capsys.readouterr().out


def test_a_model_that_gives_a_feature_map_is_used_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(photos, keras.layers.Conv2D(4, 8, strides=8)(photos))
    network = built(saved(model, tmp_path / "net.keras"))
    expected = np.asarray(model(images())).mean(axis=(1, 2))
    np.testing.assert_allclose(network.features(images()), expected, rtol=1e-4, atol=1e-3)
    assert "features are" not in capsys.readouterr().out


def test_the_last_feature_map_may_be_in_a_model_without_weights(tmp_path: Path) -> None:
    layers = keras.layers
    pooling = keras.Sequential([layers.ReLU(), layers.GlobalAveragePooling2D()])
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Conv2D(4, 8, strides=8), pooling])
    features = built(saved(model, tmp_path / "net.keras")).features(images())
    np.testing.assert_allclose(features, model(images()), rtol=1e-4, atol=1e-3)


def test_weights_come_from_the_file_or_are_random(own: str) -> None:
    photos = images()
    first, again, other = (np.asarray(built(own, **more).features(photos)) for more in ({}, {}, {"weights": "none"}))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def with_attention() -> keras.Model:
    """A network with attention among the places of a feature map."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    photos = keras.Input((SIDE, SIDE, 3))
    maps = layers.Conv2D(8, 8, strides=8)(layers.Rescaling(1 / 255)(photos))
    tokens = layers.Reshape((16, 8))(maps)
    tokens = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    return keras.Model(photos, layers.Add()([maps, layers.Reshape((4, 4, 8))(tokens)]))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16"])
@pytest.mark.parametrize("model", [classifier, with_attention])
def test_a_file_in_half_precision_is_computed_in_float32(
    model: Callable[[], keras.Model], policy: str, tmp_path: Path
) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        half = model()
    finally:
        keras.config.set_dtype_policy("float32")
    features = built(saved(half, tmp_path / "half.keras")).backbone(images())
    network = model()
    network.set_weights(half.get_weights())
    assert features.dtype == "float32"
    np.testing.assert_allclose(features, built(saved(network, tmp_path / "whole.keras")).backbone(images()), atol=1e-5)


def test_layers_of_a_model_in_the_file_are_fine_tuned_one_by_one(own: str) -> None:
    network = built(own)
    assemble.unfreeze(network, 2)
    assert {one.path.split("/")[-2] for one in network.backbone.trainable_variables} == {"second"}
    assemble.unfreeze(network, 100)
    assert {one.path.split("/")[-2] for one in network.backbone.trainable_variables} == {"first", "second"}


def test_features_of_two_files_with_the_same_weights_are_cached_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    caches = tmp_path / "cache"
    for file, activation in (("a/net.keras", "relu"), ("b/net.keras", "tanh"), ("b/net.keras", "tanh")):
        if not (tmp_path / file).exists():
            saved(classifier(activation=activation), tmp_path / file)
        with Extractor(built(str(tmp_path / file)).features, InputSpec(SIDE, SIDE), caches, 1).store:
            pass
    assert len({one.stem for one in caches.iterdir()}) == 2


def test_it_is_trained_fine_tuned_and_exported(trainer: Trainer, photos: Path, own: str, tmp_path: Path) -> None:
    tuning = ("--fine-tune", "2", "--fine-tune-epochs", "1", "--force")
    status, out, error = trainer("train", photos, "--name", "colours", "--backbone", own, *tuning)
    assert status == 0, error
    assert out.count("its layer convolutions/last") == 1
    version = tmp_path / "models" / "colours" / "1"
    extra = version / "assets.extra"
    card = Card.from_json((extra / "card.json").read_text())
    assert card.backbone == Backbone("my net.keras", "file", "the file my net.keras", None)
    assert (card.input.height, card.input.width) == (SIDE, SIDE)
    for name in ("config.toml", "card.json"):
        assert str(Path(own).parent) not in (extra / name).read_text()
    if importlib.util.find_spec("openvino") is not None:
        assert (extra / NETWORK).is_file()
    served = SavedClassifier(version)
    pixels = images().astype(np.uint8)
    heatmap = tf.saved_model.load(str(version)).signatures["explain"](images=pixels)["heatmap"]
    assert heatmap.shape == (2, 4, 4)
    restored = keras.models.load_model(extra / "model.keras", compile=False)
    assert np.asarray(restored(pixels.astype(np.float32))) == pytest.approx(served.probabilities(pixels), abs=1e-4)
    assert np.linalg.norm(served.embeddings(pixels), axis=1) == pytest.approx([1, 1], abs=1e-4)
    status, out, error = trainer("evaluate", version, photos, "--output", tmp_path / "evaluation")
    assert status == 0, error
    assert out.startswith("24 photos")


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """A layer of one's own, which other programs do not have."""

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        return 2 * images


def with_layer(layer: keras.layers.Layer, path: Path) -> str:
    return saved(keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(2, 3), layer]), path)


def refusal(name: str, **more: int) -> str:
    with pytest.raises(TrainerError) as caught:
        built(name, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_layers_with_code_of_their_own_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = with_layer(keras.layers.Lambda(lambda images: 2 * images), tmp_path / "lambda.keras")
    assert refusal(name).endswith("has a Lambda layer, whose Python code is not run; use layers of Keras")
    name = with_layer(Doubled(), tmp_path / "custom.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "tests>Doubled")
    with zipfile.ZipFile(name) as archive:
        entries = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(name, "w") as archive:  # where the module with the class cannot be imported
        for one, content in entries.items():
            archive.writestr(one, content.replace(__name__.encode(), b"elsewhere"))
    assert refusal(name) == (
        f"{name} cannot be loaded: Keras has no class Doubled; a file with custom layers or functions cannot be used"
    )


def test_models_that_are_no_backbone_are_refused(tmp_path: Path) -> None:
    layers, one, two = keras.layers, keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))
    maps = layers.Conv2D(2, 3)(one)
    models = {
        "2 inputs and 1 outputs": keras.Model([one, two], maps + two[:, 2:, 2:, :2]),
        "1 inputs and 2 outputs": keras.Model(one, [maps, layers.Flatten()(maps)]),
        r"takes an input of shape \(32, 32, 1\)": keras.Sequential([keras.Input((SIDE, SIDE, 1)), layers.Conv2D(2, 3)]),
        r"takes an input of shape \(64, 32, 3\)": keras.Sequential([keras.Input((64, SIDE, 3)), layers.Conv2D(2, 3)]),
        "no layer whose output is a feature map": keras.Model(
            one, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255)(one)))
        ),
    }
    for at, (message, model) in enumerate(models.items()):
        assert re.search(message, refusal(saved(model, tmp_path / f"{at}.keras")))


def test_a_vision_transformer_is_refused_instead_of_cut_at_its_patches(tmp_path: Path) -> None:
    layers, photos = keras.layers, keras.Input((SIDE, SIDE, 3))
    patches = layers.Reshape((4, 8))(layers.Conv2D(8, 16, strides=16)(photos))
    tokens = layers.LayerNormalization()(patches + layers.MultiHeadAttention(2, 4)(patches, patches))
    transformer = keras.Model(photos, layers.Dense(5)(layers.GlobalAveragePooling1D()(tokens)))
    inside = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), transformer])
    for at, model in enumerate((transformer, inside)):
        name = saved(model, tmp_path / f"{at}.keras")
        assert refusal(name) == (
            f"{name} computes tokens (n, tokens, channels), not a feature map; use a convolutional network"
        )


def test_images_that_are_scaled_cropped_or_augmented_are_no_feature_maps(tmp_path: Path) -> None:
    layers = keras.layers
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    pixels = [
        layers.Resizing(24, 24),
        layers.CenterCrop(16, 16),
        layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1]),
    ]
    rest = [layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), augmentation, *pixels, layers.Normalization(), *rest])
    assert "no layer whose output is a feature map" in refusal(saved(model, tmp_path / "net.keras"))


def test_a_size_that_the_network_cannot_take_is_refused(own: str, tmp_path: Path) -> None:
    assert refusal(own, size=64).endswith("takes 32x32 pixels, not 64x64; leave out --size")
    photos = keras.Input((None, None, 3))
    model = keras.Model(photos, keras.layers.Conv2D(2, 16)(photos))
    assert "cannot take 8x8 pixels" in refusal(saved(model, tmp_path / "net.keras"), size=8)


def test_it_has_no_classifier_of_imagenet_and_no_width_multiplier(own: str) -> None:
    with pytest.raises(TrainerError, match=r"has no classifier of the 1,000 classes of ImageNet"):
        backbones.load(backbones.architecture(own), "imagenet", SIDE, top=True)
    with pytest.raises(TrainerError, match=r"has no width multiplier"):
        backbones.load(backbones.architecture(own), "imagenet", SIDE, alpha=0.5)


def test_files_that_are_not_keras_files_are_refused_before_photos_are_read(
    trainer: Trainer, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.keras").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("a", "b")
    for name, expected, message in (
        ("missing.keras", 3, "missing.keras does not exist"),
        ("text.keras", 1, "text.keras is not a .keras file"),
        ("archive.keras", 1, "archive.keras cannot be loaded: it is not a model that Keras saved"),
    ):
        status, _, error = trainer("train", photos, "--name", "x", "--backbone", tmp_path / name)
        assert status == expected
        assert message in error.strip().splitlines()[-1]
        assert not (tmp_path / "runs").exists()
