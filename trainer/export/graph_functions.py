"""A Keras model as functions of a graph, with its weights as constants, for all exported files."""

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.export import signatures
from trainer.export.precision import Precision, in_bfloat16
from trainer.model_card import Card


def with_constants(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor | list[tf.Tensor]]:
    """Returns a model as a function to be traced, with the current weights as constants of the graph.

    This takes a third of the CPU time of tracing it with variables and replacing these afterwards.
    """
    weights = [(variable, variable.numpy()) for variable in model.variables]

    def run(inputs: tf.Tensor) -> tf.Tensor | list[tf.Tensor]:
        with keras.StatelessScope(weights):
            return model(inputs, training=False)

    return run


def freeze(
    split: keras.Model, tail: keras.Model, card: Card, precision: Precision
) -> tuple[signatures.Core, signatures.Saliency]:
    """Freezes the weights into constants. All signatures call the same two functions.

    With constants, TensorFlow folds batch normalisation into the convolutions before it. If each signature was frozen
    separately, each would store its own copy of the weights.
    """
    images = tf.TensorSpec((None, card.input.height, card.input.width, 3), tf.float32)
    features = tf.TensorSpec(split.output_shape[1], tf.float32)
    run, show = with_constants(split), signatures.saliency(with_constants(tail))
    core = tf.function(lambda x: tuple(run(x)), autograph=False, jit_compile=False).get_concrete_function(images)
    if precision == "bfloat16":
        core = in_bfloat16(core)
    heatmap = tf.function(show, autograph=False, jit_compile=False).get_concrete_function(
        features, tf.TensorSpec((None,), tf.int32)
    )
    return lambda x: tuple(core(x)), heatmap


def with_variables(split: keras.Model, tail: keras.Model) -> tuple[signatures.Core, signatures.Saliency]:
    """Returns the same two functions with weights that stay variables, for networks too large for constants."""
    show = signatures.saliency(lambda features: tail(features, training=False))
    return lambda images: tuple(split(images, training=False)), show


def outputs_of_images(model: keras.Model, card: Card) -> tf.types.experimental.GenericFunction:
    """Returns what files for other runtimes compute, with the weights as constants.

    Args:
        model: As for `export_model`.
        card: The card.

    Returns:
        images uint8 (n, height, width, 3) -> `probabilities` float32 (n, labels + other labels), `embedding` float32
        (n, d).
    """
    network = with_constants(signatures.split_at_features(model)[0])

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, _, features = network(tf.cast(images, tf.float32))
        return {
            "probabilities": signatures.probabilities(logits, card),
            signatures.EMBEDDING: tf.math.l2_normalize(features, axis=1),
        }

    return tf.function(run, input_signature=[images_spec(card)], autograph=False, jit_compile=False)


def images_spec(card: Card, batch: int | None = None) -> tf.TensorSpec:
    """Returns the input `images` of a model, for a number of images or for any number."""
    return tf.TensorSpec((batch, card.input.height, card.input.width, 3), tf.uint8, name="images")
