"""`sample`: a small model that is made from nothing in about a minute, from drawings of dogs of invented breeds.

It shows the whole way from data to prediction without a photo, a download or a GPU. It knows the drawings only, and
its card says so.
"""

import argparse
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway.images import decode_image
from trainer import calibrate
from trainer.breeds import BREEDS
from trainer.card import Backbone, Card, InputSpec
from trainer.console import Advance, progress, say
from trainer.drawings import draw_dog
from trainer.errors import TrainerError
from trainer.precision import Precision, add_precision, check_available
from trainer.publish import add_models_dir, check_writable, new_version, published_versions
from trainer.scenery import draw_other

if TYPE_CHECKING:
    import keras

INPUT = InputSpec(height=96, width=96, fit="crop", interpolation="bilinear")
LABELS = tuple(breed.label for breed in BREEDS)
DESCRIPTION = (
    "A sample made from drawings: it knows little drawn dogs of seven invented breeds, and no photo of a real dog. "
    "Train a model on photos to recognise those."
)
FALSE_UNKNOWN_RATE = 0.01
"""Drawings that may be called unknown. Fewer than photos: this model was shown other things, and tells them apart."""

BATCH_SIZE = 32
PEAK_LEARNING_RATE = 4e-3
TRAINING, VALIDATION, EXAMPLES = 1, 2, 3
"""Seeds of drawings that are never the same."""


@dataclass(frozen=True)
class Size:
    """How much is drawn and trained; the defaults take about a minute on two cores."""

    drawings: int = 300  # of each breed
    others: int = 900  # pictures of other things
    validation: int = 40  # fresh drawings of each breed
    epochs: int = 9


def build_sample(
    models_dir: Path,
    samples_dir: Path,
    *,
    name: str = "dog_breed",
    seed: int = 0,
    size: Size | None = None,
    precision: Precision = "float32",
) -> Path:
    """Draws, trains, exports and publishes the sample model, and writes drawings to try.

    Args:
        models_dir: Where versions are published: `<models_dir>/<name>/<version>`.
        samples_dir: Where one new drawing of each breed is written, as `<breed>.jpg`.
        name: The model's name.
        seed: Of the drawings and of the training.
        size: How much to draw and train.
        precision: What the exported model computes in.

    Returns:
        The path of the published version.
    """
    size = size or Size()
    check_writable(models_dir, name)
    check_available(precision)
    total = size.drawings * len(BREEDS) + size.others + size.validation * (len(BREEDS) + 1)
    with progress("Drawing", total) as advance:
        images, targets = _draw_training_set(size, seed, advance)
        uploads = [_upload(index, seed, advance) for index in range(size.validation * len(BREEDS))]
        strangers = np.stack([_draw_other(VALIDATION, index, seed, advance) for index in range(size.validation)])
    model = _train(images, targets, seed, size.epochs)

    pixels = np.stack([decode_image(upload, INPUT.target) for upload in uploads])
    truth = np.arange(len(uploads)) % len(BREEDS)
    logits = model.predict(pixels.astype(np.float32), batch_size=64, verbose=0)
    strange = model.predict(strangers.astype(np.float32), batch_size=64, verbose=0)
    card = _card(name, size, logits, strange, truth)

    from trainer.export import export_model

    say("Exporting")
    with new_version(models_dir, name) as draft:
        exported = export_model(model, card, draft.directory, photos=uploads, precision=precision)
    say(exported.summary())
    _write_examples(samples_dir, seed)
    return draft.path


def _draw_training_set(size: Size, seed: int, advance: Advance) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Drawings uint8 (n, height, width, 3) and targets float32 (n, classes).

    Other things get the same share of every breed: so trained, the best score of an unknown thing is low (outlier
    exposure, Hendrycks et al. 2019).
    """
    known = size.drawings * len(BREEDS)
    images = np.empty((known + size.others, INPUT.height, INPUT.width, 3), np.uint8)
    targets = np.full((len(images), len(BREEDS)), 1 / len(BREEDS), np.float32)
    for index in range(known):
        rng = np.random.default_rng([seed, TRAINING, index])
        images[index] = np.asarray(draw_dog(BREEDS[index % len(BREEDS)], INPUT.height, rng))
        targets[index] = np.eye(len(BREEDS))[index % len(BREEDS)]
        advance()
    for index in range(size.others):
        images[known + index] = _draw_other(TRAINING, index, seed, advance)
    return images, targets


def _draw_other(purpose: int, index: int, seed: int, advance: Advance) -> NDArray[np.uint8]:
    advance()
    return np.asarray(draw_other(INPUT.height, np.random.default_rng([seed, purpose, index, 1])))


def _upload(index: int, seed: int, advance: Advance) -> bytes:
    """A fresh drawing as people would send it: a JPEG of another size, which is decoded as the gateway does."""
    advance()
    rng = np.random.default_rng([seed, VALIDATION, index])
    image = draw_dog(BREEDS[index % len(BREEDS)], int(rng.integers(120, 320)), rng)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=int(rng.integers(60, 95)))
    return encoded.getvalue()


def _train(images: NDArray[np.uint8], targets: NDArray[np.float32], seed: int, epochs: int) -> "keras.Model":
    import keras

    keras.utils.set_random_seed(seed)
    model = _network()
    steps = -(-len(images) // BATCH_SIZE) * epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK_LEARNING_RATE / 100, steps, warmup_target=PEAK_LEARNING_RATE, warmup_steps=steps // 8
    )
    model.compile(keras.optimizers.Adam(schedule), keras.losses.CategoricalCrossentropy(from_logits=True))
    with progress("Training", steps) as advance:
        model.fit(
            images,
            targets,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_train_batch_end=lambda _, logs: advance(1, f"loss {logs['loss']:.3f}")
                )
            ],
        )
    return model


def _network() -> "keras.Model":
    """A small convolutional network: pixel values (n, 96, 96, 3) -> logits (n, 7), 120,000 weights."""
    import keras

    pixels = keras.Input((INPUT.height, INPUT.width, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    for filters, strides in ((16, 2), (32, 2), (64, 2), (64, 1), (96, 1)):
        x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)  # of few steps
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(pixels, keras.layers.Dense(len(BREEDS))(x))


def _card(
    name: str, size: Size, logits: NDArray[np.float32], strange: NDArray[np.float32], truth: NDArray[np.int64]
) -> Card:
    temperature = calibrate.fit_temperature(logits, truth)
    probabilities = calibrate.softmax(logits, temperature)
    confidences = probabilities.max(axis=1)
    others = calibrate.softmax(strange, temperature).max(axis=1)
    threshold = calibrate.choose_unknown_threshold(confidences, FALSE_UNKNOWN_RATE)
    return Card(
        name=name,
        labels=LABELS,
        input=INPUT,
        backbone=Backbone("small_cnn", "none"),
        description=DESCRIPTION,
        sample=True,
        training={
            "photos": {
                "train": dict.fromkeys(LABELS, size.drawings),
                "validation": dict.fromkeys(LABELS, size.validation),
            },
            "drawn": True,
            "others": size.others,
            "epochs": size.epochs,
        },
        metrics={
            "validation": {
                "photos": len(truth),
                "accuracy": round(float((logits.argmax(axis=1) == truth).mean()), 4),
                "expected_calibration_error": round(calibrate.expected_calibration_error(probabilities, truth), 4),
                "known_under_threshold": round(float((confidences < threshold).mean()), 4),
                "others_over_threshold": round(float((others >= threshold).mean()), 4),
                "unknown_auroc": round(calibrate.auroc(confidences, others), 4),
            }
        },
        temperature=temperature,
        unknown_threshold=threshold,
        unknown_rule=f"the highest score that all but {FALSE_UNKNOWN_RATE:.0%} of the validation drawings reach",
    )


def _write_examples(directory: Path, seed: int) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for index, breed in enumerate(BREEDS):
            image = draw_dog(breed, 480, np.random.default_rng([seed, EXAMPLES, index]))
            file = breed.label.lower().replace(" ", "_").replace("-", "_")
            image.save(directory / f"{file}.jpg", quality=90)
    except OSError as error:
        raise TrainerError(f"cannot write drawings to {directory}: {error}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `sample`."""
    parser.add_argument("--name", default="dog_breed", help="the model's name (default: %(default)s)")
    add_precision(parser)
    add_models_dir(parser)
    parser.add_argument(
        "--samples-dir", type=Path, default=Path("samples"), metavar="DIR",
        help="where drawings to try are written (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the drawings and the training (default: %(default)s)"
    )
    parser.add_argument("--if-missing", action="store_true", help="do nothing when the model has a version already")


def run(args: argparse.Namespace) -> int:
    """Builds and publishes the sample model."""
    if args.seed < 0:
        raise TrainerError(f"--seed {args.seed}: a seed is 0 or more")
    published = published_versions(args.models_dir, args.name)
    if args.if_missing and published:
        say(f"{args.models_dir / args.name / str(published[-1])} is there: no sample model is needed")
        return 0
    started = time.monotonic()
    path = build_sample(args.models_dir, args.samples_dir, name=args.name, seed=args.seed, precision=args.precision)
    say(f"published {path} in {time.monotonic() - started:.0f} s: a sample that knows drawings only")
    say(f"drawings to try are in {args.samples_dir}")
    return 0
