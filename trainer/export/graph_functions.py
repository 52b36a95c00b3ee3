"""A Keras model as functions of a graph, with its weights as constants: what the files of every export compute."""

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trainer.export import signatures
from trainer.export.precision import Precision, in_bfloat16
from trainer.export.tf_logging import quiet
from trainer.model_card import Card


def freeze(
    split: keras.Model, tail: keras.Model, card: Card, precision: Precision
) -> tuple[signatures.Core, signatures.Saliency]:
    """Freezes the weights into constants, once: every signature calls the same two functions.

    With constants TensorFlow folds batch normalisation into the convolutions before it. Freezing each signature by
    itself would do the same and store the weights once for each.
    """
    images = tf.TensorSpec((None, card.input.height, card.input.width, 3), tf.float32)
    features = tf.TensorSpec(split.output_shape[1], tf.float32)
    run = tf.function(lambda x: tuple(split(x, training=False)), jit_compile=False)
    core = convert_variables_to_constants_v2(run.get_concrete_function(images))
    if precision == "bfloat16":
        core = in_bfloat16(core)
    show = tf.function(signatures.saliency(tail), jit_compile=False)
    heatmap = convert_variables_to_constants_v2(show.get_concrete_function(features, tf.TensorSpec((None,), tf.int32)))
    return lambda x: tuple(core(x)), lambda maps, classes: heatmap(maps, classes)[0]


def with_variables(split: keras.Model, tail: keras.Model) -> tuple[signatures.Core, signatures.Saliency]:
    """Returns the same two functions of weights that stay variables, for networks too large for constants."""
    return lambda images: tuple(split(images, training=False)), signatures.saliency(tail)


def outputs_of_images(model: keras.Model, card: Card) -> tf.types.experimental.GenericFunction:
    """Returns what files for other runtimes compute, with the weights as constants.

    Args:
        model: As for `export_model`.
        card: The card.

    Returns:
        images uint8 (n, height, width, 3) -> `probabilities` float32 (n, labels + other labels), `embedding` float32
        (n, d).
    """
    split, tail = signatures.split_at_features(model)
    with quiet():
        outputs = signatures.in_one_pass(*freeze(split, tail, card, "float32"), card)

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = outputs(images)
        return {name: found[name] for name in ("probabilities", signatures.EMBEDDING)}

    return tf.function(run, input_signature=[images_spec(card)], autograph=False, jit_compile=False)


def images_spec(card: Card, batch: int | None = None) -> tf.TensorSpec:
    """Returns the input `images` of a model, for a number of images or for any number."""
    return tf.TensorSpec((batch, card.input.height, card.input.width, 3), tf.uint8, name="images")
