"""A model whose signatures take and give values of all kinds."""

from __future__ import annotations

import tensorflow as tf


class Mixed(tf.Module):  # type: ignore[misc]
    """Signatures with numbers, truth values, texts and bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.as_string(tf.argmax(x, axis=1))
        return {"y": x / 3.0, "best": text, "raw_bytes": text, "rank": tf.argsort(x), "over": x > 0.5}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, 2, 2, 3], tf.uint8, name="images"),
            tf.TensorSpec([None], tf.string, name="tag"),
        ]
    )
    def mix(self, images: tf.Tensor, tag: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float64), axis=[1, 2, 3]), "tag": tag}
