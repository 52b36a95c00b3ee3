"""The signatures of an export: TensorFlow graphs around a Keras model, with the batch dimension first."""

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.model_card import Card, InputSpec
from trainer.network.assemble import MEAN_OF_VIEWS

Core = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
"""images float32 (n, height, width, 3) -> logits (n, outputs), feature map (n, h, w, channels), features (n, d)."""
Saliency = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""feature map (n, h, w, channels), class index int32 (n) -> heatmap float32 (n, h, w), 0 to 1."""

TOP_K = 5

EMBEDDING = "embedding"
"""The output of `embed`."""

_KERNELS = {"nearest": "box", "bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}


def split_at_features(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Splits a model at its last feature map, sharing the weights.

    Of a model that answers by an image and its mirror image, logits and features are means of both; the feature map
    and the tail are those of the image.

    Args:
        model: Functional; images float32 (n, height, width, 3) -> logits (n, outputs).

    Returns:
        The model with three outputs: logits, feature map (n, h, w, channels) and features (n, d), the input of its
        head; and the tail, feature map -> logits.

    Raises:
        ValueError: The model has no layer with a feature map of more than one pixel.
    """
    if model.layers[-1].name == MEAN_OF_VIEWS:
        split, tail = split_at_features(next(one for one in model.layers if isinstance(one, keras.Model)))
        logits, maps, features = split(model.input)
        mirrored, _, mirrored_features = split(keras.ops.flip(model.input, axis=2))
        means = [keras.layers.Average()(both) for both in ([logits, mirrored], [features, mirrored_features])]
        return keras.Model(model.input, [means[0], maps, means[1]]), tail
    features = None
    for layer in reversed(model.layers):
        # The output of a nested model belongs to its own graph; the base class has the output in this graph.
        output = keras.Operation.output.fget(layer)
        shape: tuple[int | None, ...] = getattr(output, "shape", ())
        if len(shape) == 4 and shape[1] != 1 and not isinstance(layer, keras.layers.InputLayer):
            if features is None:
                features = keras.layers.GlobalAveragePooling2D(name="embedding_pooling")(output)
            return keras.Model(model.input, [model.output, output, features]), keras.Model(output, model.output)
        if len(shape) == 2 and output is not model.outputs[0]:
            features = output  # at the end the first of these: pooled or flattened maps, before any dense layer
    raise ValueError("the model has no layer whose output is a feature map (n, h, w, channels)")


def saliency(tail: Callable[[tf.Tensor], tf.Tensor]) -> Saliency:
    """Returns Grad-CAM over the tail of a model, feature map -> logits: the evidence for a class in the feature map.

    Channels are weighted by the mean gradient of the logit of the class, summed, clipped at 0 and scaled to a maximum
    of 1 (Selvaraju et al. 2017, eq. 1 and 2). With a linear head on average-pooled features, the gradient is the weight
    of the head, and the result is the class activation map of Zhou et al. 2016 (section 3.1 of the former).
    """

    def heatmap(features: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = tail(features)
        if logits.shape[1] == 1:  # a sigmoid: evidence for class 0 lowers the logit
            selection = tf.cast(2 * classes - 1, tf.float32)[:, tf.newaxis]
        else:
            selection = tf.one_hot(classes, logits.shape[1])
        # Select the logit by output gradients: OpenVINO lacks the gradient of an operation that selects.
        gradients = tape.gradient(logits, features, output_gradients=selection)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        evidence = tf.nn.relu(tf.reduce_sum(weights * features, axis=3))
        return tf.math.divide_no_nan(evidence, tf.reduce_max(evidence, axis=(1, 2), keepdims=True))

    return heatmap


def probabilities(logits: tf.Tensor, card: Card) -> tf.Tensor:
    """Returns class probabilities float32 (n, classes) of logits (n, classes), or of one sigmoid logit (n, 1)."""
    logits = logits / card.temperature
    if card.multi_label:
        return tf.sigmoid(logits)
    if logits.shape[1] == 1:
        # A sigmoid for each class, because 1 - p loses small probabilities.
        return tf.sigmoid(tf.concat([-logits, logits], axis=1))
    return tf.nn.softmax(logits)


def decode(image_bytes: tf.Tensor, spec: InputSpec) -> tf.Tensor:
    """Decodes and fits photos in the graph, as close to `gateway.images` as TensorFlow allows.

    Args:
        image_bytes: string (n): JPEG, PNG, GIF (first frame) or BMP. EXIF orientation is ignored.
        spec: Input size and fit.

    Returns:
        uint8 (n, height, width, 3), RGB.
    """

    def decode_one(data: tf.Tensor) -> tf.Tensor:
        image = tf.cond(
            tf.io.is_jpeg(data),
            # Pillow uses this transform. decode_image uses a fast one, with differences of 1 in some pixels.
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
        )
        image.set_shape((None, None, 3))
        return _fit(image, spec)

    return tf.map_fn(decode_one, image_bytes, fn_output_signature=tf.TensorSpec((spec.height, spec.width, 3), tf.uint8))


def _fit(image: tf.Tensor, spec: InputSpec) -> tf.Tensor:
    target = tf.constant([spec.height, spec.width], tf.float32)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    if spec.fit == "crop":
        scale = tf.fill((2,), tf.reduce_max(target / size))
        shift = (target - size * scale) / 2
    elif spec.fit == "pad":
        # Integers, so that the bars have sharp edges.
        inside = tf.maximum(tf.round(size * tf.reduce_min(target / size)), 1)
        scale, shift = inside / size, tf.floor((target - inside) / 2)
    else:
        scale, shift = target / size, tf.zeros(2)
    # One operation crops, scales and pads with subpixel precision, like the resize of a box in Pillow.
    fitted = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(image[tf.newaxis], tf.float32),
        size=[spec.height, spec.width],
        scale=scale,
        translation=shift,
        kernel_type=_KERNELS[spec.interpolation],
        antialias=spec.interpolation != "nearest",
    )
    return tf.saturate_cast(tf.round(fitted[0]), tf.uint8)


def build(
    core: Core, heatmap: Saliency, card: Card, *, one_output: bool
) -> dict[str, tf.types.experimental.GenericFunction]:
    """Returns the functions of all signatures in docs/model-contract.md, with their input signatures.

    A model with one output (a sigmoid; `one_output`) has an additional signature `sigmoid`: images -> `probability`
    float32 (n, 1), the raw sigmoid for the second label, before any temperature.
    """
    spec = card.input
    images_spec = tf.TensorSpec((None, spec.height, spec.width, 3), tf.uint8, name="images")
    labels = tf.constant(list(card.labels))

    def scores(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, maps, _ = core(tf.cast(images, tf.float32))
        return probabilities(logits, card), maps

    def of_labels(probabilities: tf.Tensor) -> tf.Tensor:
        return probabilities[:, : len(card.labels)]

    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        best = tf.math.top_k(of_labels(scores(decode(image_bytes, spec))[0]), k=min(TOP_K, len(card.labels)))
        outputs = {"classes": tf.gather(labels, best.indices), "scores": best.values}
        if card.least_set_score is not None:
            outputs["in_label_set"] = best.values >= card.least_set_score
        if card.multi_label:
            outputs["over_threshold"] = best.values >= tf.gather(tf.constant(card.thresholds, tf.float32), best.indices)
        return outputs

    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": scores(images)[0]}

    def explain(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, maps = scores(images)
        top = tf.argmax(of_labels(probabilities), axis=1, output_type=tf.int32)
        return {"probabilities": probabilities, "heatmap": heatmap(maps, top)}

    def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {EMBEDDING: tf.math.l2_normalize(core(tf.cast(images, tf.float32))[2], axis=1)}

    def sigmoid(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": tf.sigmoid(core(tf.cast(images, tf.float32))[0])}

    bytes_spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    endpoints = [
        (serving_default, bytes_spec),
        (pixels, images_spec),
        (explain, images_spec),
        (embed, images_spec),
    ]
    if one_output:
        endpoints.append((sigmoid, images_spec))
    functions = {one.__name__: _served(one, spec) for one, spec in endpoints}
    return {**functions, "describe": describe(card)}


def in_one_pass(core: Core, heatmap: Saliency, card: Card) -> tf.types.experimental.GenericFunction:
    """Returns a function of images with the outputs of all signatures that take images.

    Each signature calls the network. A runtime that does not see that these calls are the same computes all of them.
    """

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, maps, features = core(tf.cast(images, tf.float32))
        scores = probabilities(logits, card)
        top = tf.argmax(scores[:, : len(card.labels)], axis=1, output_type=tf.int32)
        outputs = {
            "probabilities": scores,
            "heatmap": heatmap(maps, top),
            EMBEDDING: tf.math.l2_normalize(features, axis=1),
        }
        if logits.shape[1] == 1:
            outputs["probability"] = tf.sigmoid(logits)
        return outputs

    return _served(run, tf.TensorSpec((None, card.input.height, card.input.width, 3), tf.uint8, name="images"))


def describe(card: Card) -> tf.types.experimental.GenericFunction:
    """Returns the function of the signature `describe`: any int32 (n) -> `card`, string (n)."""
    text = tf.constant(card.to_json())

    def run(request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(request), text)}

    return _served(run, tf.TensorSpec((None,), tf.int32, name="request"))


def _served(
    function: Callable[..., dict[str, tf.Tensor]], spec: tf.TensorSpec
) -> tf.types.experimental.GenericFunction:
    # Without XLA, which a model server may lack.
    return tf.function(function, input_signature=[spec], autograph=False, jit_compile=False)
