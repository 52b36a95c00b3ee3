"""Presets of KerasHub as backbones: what they compute, and how they are trained and exported."""

from collections.abc import Callable
from pathlib import Path

from trainer.model_card import Backbone, Card, InputSpec  # isort: skip - sets what TensorFlow reads when it is imported

import keras
import numpy as np
import pytest

from tests.trainer.network import hub_presets
from tests.trainer.network.hub_presets import SIDE, built, needs_keras_hub
from trainer.errors import TrainerError
from trainer.export.keras_copies import load_keras
from trainer.export.parity import LIMIT
from trainer.export.saved_model import Exported, export_model
from trainer.network import assemble, backbone_names
from trainer.network.kerashub import Preset

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.float32)


@needs_keras_hub
def test_features_of_a_vit_are_the_mean_of_its_patches_scaled_as_the_preset_says(vit: str) -> None:
    import keras_hub

    network, folder = built(vit), backbone_names.preset_of(vit)
    assert network.model.input_shape == (None, SIDE, SIDE, 3)
    preset = keras_hub.models.Backbone.from_preset(folder)
    tokens = np.asarray(preset(keras_hub.layers.ImageConverter.from_preset(folder)(images())))
    assert tokens.shape == (2, 1 + 16, 16)
    np.testing.assert_allclose(np.asarray(network.features(images())), tokens[:, 1:].mean(axis=1), atol=1e-5)


@needs_keras_hub
def test_features_of_a_cnn_are_the_mean_of_its_map_scaled_channel_by_channel(cnn: str) -> None:
    import keras_hub

    preset = keras_hub.models.Backbone.from_preset(backbone_names.preset_of(cnn))
    maps = np.asarray(preset(images() * np.array([0.1, 0.2, 0.3]) + np.array([-1, -2, -3]), training=False))
    np.testing.assert_allclose(np.asarray(built(cnn).features(images())), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    assert built(cnn, size=96).model.input_shape == (None, 96, 96, 3)


@needs_keras_hub
def test_what_a_vit_says_of_a_patch_is_where_the_patch_is(vit: str) -> None:
    network = built(vit)
    maps = keras.Model(network.model.input, network.model.get_layer("feature_map").output)
    plain = np.zeros((1, SIDE, SIDE, 3), np.float32)
    for row, column in ((0, 3), (2, 1)):
        marked = plain.copy()
        marked[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 255
        changed = np.abs(np.asarray(maps(marked)) - np.asarray(maps(plain))).sum(axis=3)[0]
        assert changed.shape == (4, 4)
        assert np.unravel_index(changed.argmax(), changed.shape) == (row, column)


@needs_keras_hub
def test_tokens_before_the_patches_are_left_out_even_if_all_make_a_square(tmp_path: Path) -> None:
    network = built(hub_presets.write(tmp_path / "preset", "DINOV3Backbone", side=16))
    assert network.backbone.output_shape == (None, 4 + 5, 16)  # a class token and four registers
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    tokens = np.asarray(network.backbone(keras.tree.pack_sequence_as(network.backbone.input, [images / 127.5 - 1])))
    assert network.model.get_layer("feature_map").output.shape == (None, 2, 2, 16)
    np.testing.assert_allclose(np.asarray(network.features(images)), tokens[:, 5:].mean(axis=1), atol=1e-5)


def preset_of_tokens(count: int, patch: int | tuple[int, int] | None) -> tuple[Preset, keras.Model]:
    images = keras.Input((32, 32, 3))
    tokens = keras.layers.Reshape((count, -1))(keras.layers.Flatten()(images))
    network = keras.Model(images, tokens)
    if patch is not None:
        network.patch_size = patch
    return Preset("kerashub:x", lambda: network, None, 32), network


@pytest.mark.parametrize(
    ("count", "patch", "side"), [(4 + 2, 16, 2), (4 + 4, (16, 16), 2), (16 + 0, 8, 4), (16 + 8, 8, 4), (16, 4, 4)]
)
def test_the_size_of_a_patch_says_how_many_patches_are_in_a_row(
    count: int, patch: int | tuple[int, int], side: int
) -> None:
    preset, network = preset_of_tokens(count, patch)
    assert preset.feature_map(network, keras.Input((32, 32, 3))).shape[1:3] == (side, side)


@pytest.mark.parametrize(("count", "patch"), [(16, None), (12, 4)])
def test_tokens_of_which_the_places_are_not_known_are_refused(count: int, patch: int | None) -> None:
    preset, network = preset_of_tokens(count, patch)
    with pytest.raises(TrainerError, match=f"does not say where in a photo the {count} tokens of kerashub:x are"):
        preset.feature_map(network, keras.Input((32, 32, 3)))


@needs_keras_hub
def test_a_block_of_a_transformer_is_fine_tuned_as_one_layer(vit: str) -> None:
    network = built(vit)
    assemble.unfreeze(network, 3)  # the normalisation, a dropout, and the last block
    trained = {one.path.split("vit_encoder/")[1].split("/")[0] for one in network.backbone.trainable_variables}
    assert trained == {"transformer_block_2", "ln"}
    assemble.unfreeze(network, 100)
    assert len(network.backbone.trainable_variables) == len(network.backbone.weights)


def exported(name: str, folder: Path) -> Exported:
    keras.backend.clear_session()
    network = built(name)
    head = network.head.get_layer("logits")
    head.set_weights([np.random.default_rng(0).normal(size=weight.shape) for weight in head.get_weights()])
    card = Card("x", ("a", "b"), InputSpec(SIDE, SIDE), Backbone(name, "preset"), other_labels=(None,))
    return export_model(assemble.with_other(network.model, 0.0), card, folder, batch_sizes=(1,))


def check_export(result: Exported) -> None:
    assert result.parity.pixels <= LIMIT
    if result.without_openvino is None:
        assert result.parity.openvino is not None
        assert result.parity.openvino <= 1e-3
    photos = images().astype(np.uint8)
    expected = result.written.probabilities(photos)
    assert not np.array_equal(expected[0], expected[1])
    assert expected.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert np.linalg.norm(result.written.embeddings(photos), axis=1) == pytest.approx([1, 1], abs=1e-4)
    restored = load_keras(result.written.directory / "assets.extra" / "model.keras")
    assert np.asarray(restored(photos.astype(np.float32))) == pytest.approx(expected, abs=1e-4)


@needs_keras_hub
@pytest.mark.backbones
@pytest.mark.filterwarnings("ignore::UserWarning")  # KerasHub's Swin and MiT are built in a way that Keras warns of
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorFlow, when sessions are cleared
@pytest.mark.parametrize("family", hub_presets.OF_ALL_FAMILIES)
def test_a_preset_of_every_family_is_exported(family: str, tmp_path: Path) -> None:
    check_export(exported(hub_presets.write(tmp_path / "preset", family), tmp_path))


@needs_keras_hub
def test_every_family_with_presets_is_exported_here() -> None:
    from trainer.network import kerashub

    families = {one.__name__ for one in kerashub._backbones()}
    assert families == set(hub_presets.OF_ALL_FAMILIES)
    assert len(kerashub.presets()) > 100


@needs_keras_hub
@pytest.mark.slow
def test_a_vit_is_trained_fine_tuned_evaluated_and_exported_again(
    trainer: Trainer, photos: Path, vit: str, tmp_path: Path
) -> None:
    tuning = ("--fine-tune", "3", "--fine-tune-epochs", "1")
    status, out, error = trainer("train", photos, "--name", "colours", "--backbone", vit, "--force", *tuning)
    assert status == 0, error
    version = tmp_path / "models" / "colours" / "1"
    card = Card.from_json((version / "assets.extra" / "card.json").read_text())
    assert card.backbone == Backbone(
        "kerashub:tiny_vit", "preset", "the folder tiny_vit with a preset of KerasHub", None
    )
    assert (card.input.height, card.input.width) == (SIDE, SIDE)
    for name in ("config.toml", "card.json"):
        assert str(tmp_path.parent) not in (version / "assets.extra" / name).read_text()
    status, out, error = trainer("evaluate", version, photos, "--output", tmp_path / "evaluation")
    assert status == 0, error
    assert out.startswith("24 photos")
    status, out, error = trainer("export", version, photos, "--models-dir", tmp_path / "models")
    assert status == 0, error
    assert "published as colours version 2" in out
    status, _, error = trainer("export", version, photos, "--format", "keras", "--output", tmp_path / "file")
    assert status == 0, error


@needs_keras_hub
@pytest.mark.slow
def test_a_cnn_is_trained_and_its_features_are_found_again(
    trainer: Trainer, photos: Path, cnn: str, tmp_path: Path
) -> None:
    command = ("train", photos, "--name", "colours", "--backbone", cnn, "--force")
    for strength in ("1", "2"):
        status, _, error = trainer(*command, "--strength", strength)
        assert status == 0, error
        assert ("Computing features" in error) == (strength == "1")
    version_folder = tmp_path / "models" / "colours" / "2"
    card = Card.from_json((version_folder / "assets.extra" / "card.json").read_text())
    assert card.metrics["cross-validation"]["accuracy"] == 1.0
