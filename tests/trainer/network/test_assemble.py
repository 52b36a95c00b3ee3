"""The network of a run: which layers are trained, and what is added."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from trainer.config import make
from trainer.config_sources import RECIPES
from trainer.network import assemble, backbones

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_fine_tuning_changes_the_last_layers_only_and_never_batch_normalisation() -> None:
    mobilenet: dict[str, str | float] = {"backbone": "mobilenet", "alpha": 0.25, "size": 32, "weights": "none"}
    config = make({**mobilenet, "data": "x", "name": "x", "fine_tune": 6})
    built = assemble.build(config, 3)
    assemble.unfreeze(built, 6)
    trained = {one.path.split("/")[-2] for one in built.backbone.trainable_variables}
    assert trained == {"conv_dw_13", "conv_pw_13"}
    assert len(built.model.trainable_variables) == 4  # and the head's


@pytest.mark.parametrize("hidden", [0, 8])
def test_logits_begin_at_zero_so_that_no_noise_of_initial_weights_remains(hidden: int) -> None:
    mobilenet: dict[str, str | float] = {"backbone": "mobilenet", "alpha": 0.25, "size": 32, "weights": "none"}
    head = assemble.build(make({**mobilenet, "data": "x", "name": "x", "hidden": hidden}), 3).head
    assert not np.asarray(head(np.ones((2, *head.input_shape[1:]), np.float32))).any()
    assert len(head.trainable_variables) == (4 if hidden else 2)


@pytest.mark.parametrize(("name", "last"), [("mobilenet_v3_small", 30), ("convnext_tiny", 9)])
def test_fine_tuning_counts_the_layers_of_keras_applications_one_by_one(name: str, last: int) -> None:
    backbone = backbones.load(backbones.architecture(name), "none", 32)
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assemble.unfreeze(assemble.Network(head, head, head, backbone), last)
    first = len(backbone.layers) - last
    for at, layer in enumerate(backbone.layers):
        expected = at >= first and not isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable == expected, layer.name


class Block(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(4)
        self.normalisation = keras.layers.BatchNormalization()

    def call(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        return self.normalisation(self.dense(tensor))


class Stack(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [Block() for _ in range(3)]

    def call(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        for block in self.blocks:
            tensor = block(tensor)
        return tensor


def test_fine_tuning_counts_the_blocks_of_a_stack_and_keeps_batch_normalisation_in_them() -> None:
    images, stack = keras.Input((8,)), Stack()
    backbone = keras.Model(images, stack(images))
    assemble.unfreeze(assemble.Network(backbone, backbone, backbone, backbone), 2)
    assert [block.dense.trainable for block in stack.blocks] == [False, True, True]
    assert not any(block.normalisation.trainable for block in stack.blocks)
    assert len(backbone.trainable_variables) == 4


def test_the_logit_of_something_else_is_added_and_the_others_stay(small_model: Callable[..., keras.Model]) -> None:
    model = small_model(3)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    widened = assemble.with_other(model, 1.5)
    np.testing.assert_allclose(np.asarray(widened(images))[:, :3], np.asarray(model(images)), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(widened(images))[:, 3], np.full(4, 1.5, np.float32))


def test_the_vgg16_recipe_builds_the_network_it_names() -> None:
    config = make({**RECIPES["cats-dogs"], "data": "x", "name": "x", "weights": "none", "size": 32})
    built = assemble.build(config, 2)
    assemble.unfreeze(built, config.fine_tune)
    trained = {one.path.split("/")[-2] for one in built.backbone.trainable_variables}
    assert trained == {"block5_conv1", "block5_conv2", "block5_conv3"}
    assert [layer.__class__.__name__ for layer in built.head.layers[1:]] == ["Dense", "Dropout", "Dense"]
    assert built.head.layers[1].units == 256
    assert built.head.layers[2].rate == 0.5
    assert built.model.output_shape == (None, 1)
