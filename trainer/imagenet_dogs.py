"""`imagenet-dogs`: the dog classes of an ImageNet classifier as a breed model, without any training."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trainer.card import Backbone, Card, InputSpec
from trainer.class_index import CLASSES, DOGS, read_dogs
from trainer.console import say
from trainer.downloads import CONNECT_SECONDS
from trainer.errors import TrainerError
from trainer.precision import add_precision, check_available
from trainer.publish import add_models_dir, check_writable, new_version
from trainer.weights import check_weights_file, weights_source

if TYPE_CHECKING:
    import keras

    from trainer.backbones import Architecture

THRESHOLD: Final = 0.2
"""Under this best score an answer is "unknown"; there are no photos here to choose it on.

Measured with MobileNetV2: none of 69 photos of dogs fell under it, and 9 of 10 photos of other animals did.
"""


def run(args: argparse.Namespace) -> int:
    """Publishes the model; returns the exit status."""
    check_writable(args.models_dir, args.name)
    check_weights_file(args.weights)
    labels = read_dogs(args.class_index, args.connect_seconds)

    # TensorFlow takes seconds to load: only now that there is something to compute.
    from trainer import backbones
    from trainer.export import export_model

    check_available(args.precision)
    which = backbones.architecture(args.backbone)
    size = args.size or which.size
    say(f"{which.name}, {size}x{size} pixels, weights {args.weights}")
    classifier = backbones.load(
        which, args.weights, size, alpha=args.alpha, top=True, connect_seconds=args.connect_seconds
    )
    model = dogs_only(which, classifier)
    card = Card(
        name=args.name,
        labels=labels,
        input=InputSpec(size, size),
        backbone=Backbone(which.name, weights_source(args.weights)),
        description=f"Knows the {len(labels)} dog breeds of ImageNet, as {which.name} learned them there. "
        "It was not trained further, and looks for a breed in every photo.",
        training={"data": "ImageNet (ILSVRC 2012), classes 151 to 268"},
        unknown_threshold=THRESHOLD,
        unknown_rule="fixed: measured on photos of dogs and of other things with MobileNetV2",
    )
    with new_version(args.models_dir, args.name) as draft:
        exported = export_model(model, card, draft.directory, precision=args.precision)
    say(exported.summary())
    say(f"published as {args.name} version {draft.version}: {draft.path}")
    return 0


def dogs_only(which: "Architecture", classifier: "keras.Model") -> "keras.Model":
    """Returns a model of the dog classes alone: pixels float32 (n, height, width, 3), 0 to 255 -> logits (n, 118).

    A softmax over some of the logits is what the full softmax gives for those classes, scaled to a sum of 1.

    Args:
        which: The network, for its normalisation.
        classifier: Normalised pixels -> 1,000 logits, the last layer with weights a dense one or a 1x1 convolution.
    """
    import keras

    last = next(layer for layer in reversed(classifier.layers) if layer.weights)
    kernel, bias = last.get_weights()
    if kernel.shape[-1] != CLASSES:
        raise TrainerError(f"{which.name} gives {kernel.shape[-1]} classes; ImageNet has {CLASSES}")
    # The feature map is put out by a model of its own: `explain` shows it.
    maps = next(
        layer.output
        for layer in reversed(classifier.layers[: classifier.layers.index(last)])
        if len(layer.output.shape) == 4 and layer.output.shape[1] != 1
    )
    body, tail = keras.Model(classifier.input, maps), keras.Model(maps, last.input)
    dense = keras.layers.Dense(len(DOGS), name="logits")
    images = keras.Input(classifier.input_shape[1:], name="images")
    pooled = tail(body(which.normalise(images), training=False), training=False)
    model = keras.Model(images, dense(keras.layers.Flatten()(pooled)), name=which.name)
    dense.set_weights([kernel.reshape(-1, CLASSES)[:, DOGS], bias[DOGS]])
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `imagenet-dogs`."""
    parser.add_argument("--name", default="dog_breed", help="the model's name (default: %(default)s)")
    parser.add_argument(
        "--backbone",
        metavar="NETWORK",
        default="mobilenet_v2",
        help="a network of keras.applications (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="imagenet",
        help="a Keras file of weights with the top; imagenet: fetched (default: %(default)s)",
    )
    parser.add_argument("--class-index", type=Path, metavar="FILE", help="imagenet_class_index.json (default: fetched)")
    parser.add_argument(
        "--connect-seconds",
        type=float,
        default=CONNECT_SECONDS,
        metavar="X",
        help="how long it may take until a download begins (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=0,
        metavar="PIXELS",
        help="height and width (default: as the network was trained)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=1.0,
        metavar="X",
        help="width multiplier of a MobileNet (default: %(default)s)",
    )
    add_precision(parser)
    add_models_dir(parser)
