"""The network of a run: which layers are trained, and what is added."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from trainer.config import make
from trainer.config_sources import RECIPES
from trainer.network import assemble

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
