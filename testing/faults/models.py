"""``python -m testing.faults.models FOLDER``: build SavedModels that classify the main colour, for both engines.

A program of its own, so that what loads TensorFlow is gone before anything is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf

from testing.faults.stage import VERSIONS
from trainer.export.openvino_network import write_network


class Colours(tf.Module):  # type: ignore[misc]
    """Returns scores of colours. Each version has its own order of labels and input size."""

    def __init__(self, labels: tuple[str, ...], side: int) -> None:
        super().__init__()
        self.order = tf.constant([("red", "green", "blue").index(label) for label in labels])
        size = {"height": side, "width": side, "fit": "crop", "interpolation": "bilinear"}
        self.card = json.dumps({"labels": labels, "input": size})

    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        light = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2]) + 1e-6
        shares = light / tf.reduce_sum(light, axis=1, keepdims=True)
        return {"probabilities": tf.gather(shares, self.order, axis=1)}

    def describe(self, request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(request), self.card)}


def main() -> None:
    folder = Path(sys.argv[1])
    for version, (labels, side) in VERSIONS.items():
        module = Colours(labels, side)
        images = tf.TensorSpec((None, side, side, 3), tf.uint8, name="images")
        request = tf.TensorSpec((None,), tf.int32, name="request")
        pixels = tf.function(module.pixels, input_signature=[images])
        describe = tf.function(module.describe, input_signature=[request])
        signatures = {"serving_default": pixels, "pixels": pixels, "describe": describe}
        tf.saved_model.save(module, str(folder / str(version)), signatures=signatures)
        extra = folder / str(version) / "assets.extra"
        extra.mkdir()
        (extra / "card.json").write_text(module.card)
        write_network(pixels, extra)


if __name__ == "__main__":
    main()
