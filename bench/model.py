"""The default model: MobileNetV2 at 224 pixels, exported by the trainer and by Keras."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bench.photos import draw_photos, read_photos
from gateway.images import Target, decode_image
from trainer.export.precision import Limits
from trainer.export.quantization import Int8
from trainer.export.saved_model import export_model
from trainer.export.tf_logging import quiet
from trainer.model_card import Backbone, Card, InputSpec
from trainer.registry.publish import new_version

NAME = "bench"
SIZE = 224
CLASSES = 1000


def make_model(folder: Path, weights: Path | None) -> Path:
    """Publishes the model in ``folder``, unless it exists.

    Args:
        folder: Gets ``bench/1``.
        weights: ImageNet weights with the classifier, as saved by Keras. Without them, weights are random: the speed is
            the same, but answers mean nothing.

    Returns:
        The folder of its versions.
    """
    if not (folder / NAME / "1").exists():
        with new_version(folder, NAME) as draft:
            export_model(network(weights), _card(weights), draft.directory)
    return folder / NAME


def make_int8_model(folder: Path, weights: Path | None, photos: Sequence[bytes]) -> Path:
    """Publishes the model under ``folder`` with a network for OpenVINO in 8 bits.

    With weights, 98 % of the photos must keep their best label, the default of an export. For that, some operations
    stay in float32, which takes time. With random weights, all operations are in 8 bits.

    Args:
        folder: Gets ``int8/bench/1``.
        weights: As for `make_model`.
        photos: The photos of the benchmark, which calibrate it.

    Returns:
        The folder of its versions.
    """
    target = folder / "int8"
    if not (target / NAME / "1").exists():
        pixels = np.stack([decode_image(photo, Target(SIZE, SIZE)) for photo in photos])
        limits = Limits(max_accuracy_loss=100, min_same_top1=0 if weights is None else Limits.min_same_top1)
        int8 = Int8(pixels, pixels, np.zeros(len(pixels), np.int64), limits)
        with new_version(target, NAME) as draft:
            export_model(network(weights), _card(weights), draft.directory, precision="int8", int8=int8)
    return target / NAME


def make_plain_model(folder: Path, weights: Path | None) -> Path:
    """Exports the same network with ``model.export`` of Keras; returns its folder."""
    target = folder / "plain" / "1"
    if not target.exists():
        archive = keras.export.ExportArchive()
        model = network(weights)
        archive.track(model)

        def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probabilities": tf.nn.softmax(model(tf.cast(images, tf.float32), training=False))}

        spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8, name="images")
        with quiet():
            archive.add_endpoint("pixels", pixels, input_signature=[spec])
            archive.write_out(str(target), verbose=False)
    return target.parent


def network(weights: Path | None) -> keras.Model:
    """Pixel values 0 to 255, float32 (n, 224, 224, 3), RGB, to logits float32 (n, 1000)."""
    keras.utils.set_random_seed(1)
    images = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    # Call it with a tensor, so that its layers belong to the model. The export searches them for the last feature map.
    return keras.applications.MobileNetV2(
        input_tensor=scaled, weights=None if weights is None else str(weights), classifier_activation=None
    )


def _card(weights: Path | None) -> Card:
    return Card(
        name=NAME,
        labels=[f"class {number:03d}" for number in range(CLASSES)],
        input=InputSpec(SIZE, SIZE),
        backbone=Backbone("mobilenet_v2", "none" if weights is None else "file"),
        description="Only for measuring speed.",
    )


if __name__ == "__main__":
    # In a separate process, so that TensorFlow takes no memory or CPU time from the measured programs.
    parser = argparse.ArgumentParser(prog="python -m bench.model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--photos", type=Path)
    arguments = parser.parse_args()
    make_model(arguments.folder, arguments.weights)
    make_plain_model(arguments.folder, arguments.weights)
    if all(find_spec(name) for name in ("openvino", "nncf")):
        make_int8_model(
            arguments.folder, arguments.weights, read_photos(arguments.photos) if arguments.photos else draw_photos()
        )
