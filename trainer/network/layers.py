"""The layers inside models, and inside layers that are composed of others."""

from collections.abc import Iterator

import keras


def all_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Returns the layers inside a layer or model, and those inside them."""
    for inner in inner_layers(layer):
        yield inner
        yield from all_layers(inner)


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers of a model, or those that another layer has as attributes, which may be lists of them."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    attributes = [value for name, value in vars(layer).items() if not name.startswith("_")]
    layers = [one for one in keras.tree.flatten(attributes) if isinstance(one, keras.layers.Layer)]
    return list(dict.fromkeys(layers))
