"""Networks by name: one of each family is built, exported and read back, so that no training ends in an error."""

from pathlib import Path

from trainer.model_card import Backbone, Card, InputSpec  # isort: skip - sets what TensorFlow reads when it is imported

import keras
import numpy as np
import pytest

from trainer.config import make
from trainer.export.parity import LIMIT
from trainer.export.saved_model import export_model
from trainer.network import assemble, backbones

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALLEST = {
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "efficientnet_lite": "efficientnet_lite0",
    "efficientnet_v2": "efficientnet_v2_b0",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small",
    "nasnet": "nasnet_mobile",
    "resnet": "resnet50",
    "resnet_v2": "resnet50_v2",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "xception": "xception",
}
"""The smallest network of each module of keras.applications, and of EfficientNet-Lite; others differ in size only."""

SIDE = 96
"""Pixels: a little over the 75 that Inception-ResNet needs at least."""


def test_every_network_is_of_a_family_that_is_exported_here() -> None:
    modules = {which.build.__module__ for which in backbones.architectures().values()}
    covered = {backbones.architecture(name).build.__module__ for name in SMALLEST.values()}
    assert covered == modules


@pytest.mark.backbones
@pytest.mark.parametrize("name", SMALLEST.values())
def test_a_network_of_every_family_is_exported(name: str, tmp_path: Path) -> None:
    keras.backend.clear_session()
    config = make({"data": "x", "name": "x", "backbone": name, "weights": "none", "size": SIDE})
    model = assemble.with_other(assemble.build(config, 2).model, 0.0)
    card = Card(name, ("a", "b"), InputSpec(SIDE, SIDE), Backbone(name, "none"), other_labels=(None,))
    exported = export_model(model, card, tmp_path, batch_sizes=(1,))
    assert exported.parity.pixels <= LIMIT
    images = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    assert exported.written.probabilities(images).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_only_mobilenets_have_a_width_multiplier() -> None:
    names = {name for name, one in backbones.architectures().items() if one.has_alpha}
    assert names == {"mobilenet", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"}
