"""Publish a classifier in a `.keras` file as a version that follows docs/model-contract.md."""

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gateway.images import ImageError
from trainer.console import progress, say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.class_tables import class_tables
from trainer.data.folders import list_classes
from trainer.data.photos import evenly
from trainer.data.splits import find_splits
from trainer.data.views import VIEWS, view
from trainer.errors import TrainerError
from trainer.model_card import Backbone, Card, InputSpec
from trainer.network.backbone_names import check_own_file
from trainer.registry.publish import check_writable, new_version

if TYPE_CHECKING:
    import keras

LISTED: Final = 10

UNFLIPPED: Final = tuple(name for name in VIEWS if "flip" not in name)
"""The views to calibrate with: a model from elsewhere may not have been trained on mirror images."""


def publish_keras(args: argparse.Namespace) -> int:
    """Exports the model of a `.keras` file, and publishes it as the next version; returns the exit status."""
    name = str(args.directory)
    if not args.directory.is_file():
        raise TrainerError(f"{name} {'is not a file' if args.directory.exists() else 'does not exist'}")
    check_own_file(name)
    if args.labels is None:
        raise TrainerError("a .keras file has no class names: give --labels FILE, one name per line")
    labels = read_labels(args.labels)
    photos = _photos(args, labels) if args.photos else []
    check_writable(args.models_dir, args.name)

    # TensorFlow takes seconds to load: only now that there is something to compute.
    from trainer.evaluation.baseline import baseline
    from trainer.evaluation.calibration import Calibration
    from trainer.export.parity import PHOTOS
    from trainer.export.saved_model import export_model
    from trainer.export.signatures import split_at_features
    from trainer.network.assemble import with_other
    from trainer.network.own_classifier import load_classifier
    from trainer.training.acceptance import check_accepted
    from trainer.training.describe import metrics_of, temperature_warnings

    preprocessing = args.preprocess or "none"
    model, scales_pixels = load_classifier(name, preprocessing, len(labels))
    try:
        split_at_features(model)
    except ValueError as error:
        raise TrainerError(f"{name} cannot be published with heat maps: {error}") from error
    if args.preprocess is None and not scales_pixels:
        say("warning: the model does not scale pixels; if they were scaled in training, add --preprocess")
    if preprocessing != "none" and scales_pixels:
        say(
            f"warning: the model scales pixels itself, after --preprocess {preprocessing}; leave out --preprocess if "
            "pixels from 0 to 255 reached it in training"
        )
    height, width = model.input_shape[1:3]
    card = Card(
        args.name,
        labels,
        InputSpec(height, width, args.fit or "crop"),
        Backbone(args.directory.name, "file", f"the file {args.directory.name}"),
        noun=args.noun,
        description=f"Tells {len(labels)} classes apart.",
    )
    if photos:
        photos, logits = _logits(model, card.input, photos)
        truth = np.array([label for _, label in photos], np.int64)
        calibration, plain = Calibration.fit(logits, truth), logits[:: len(UNFLIPPED)]
        counts = Counter(labels[label] for _, label in photos)
        card = dataclasses.replace(
            calibration.on(card),
            training={"photos": {"validation": {label: counts[label] for label in labels}}},
            metrics={"validation": metrics_of(calibration, plain, truth)},
        )
        card = dataclasses.replace(card, baseline=baseline(card, calibration.probabilities(plain)))
        for line in temperature_warnings(calibration.temperature):
            say(f"warning: {line}")
        if not args.force:
            check_accepted(card, args.models_dir)
        if calibration.other_logit is not None:
            model = with_other(model, calibration.other_logit)
    proof = [path.read_bytes() for path, _ in evenly(photos, PHOTOS)]
    with new_version(args.models_dir, args.name) as draft:
        exported = export_model(model, card, draft.directory, photos=proof)
    say(exported.summary())
    if photos:
        figures = card.metrics["validation"]
        say(f"calibrated on {figures['photos']} photos: accuracy {figures['accuracy']}, temperature {card.temperature}")
    else:
        say("not calibrated: --photos DATA sets the temperature and the threshold for unknown photos")
    say(f"{args.name} version {draft.version}: {draft.path}")
    return 0


def read_labels(path: Path) -> tuple[str, ...]:
    """Reads class names, one a line.

    Raises:
        TrainerError: The file cannot be read, has fewer than two names, or a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"cannot read {path}: {error}") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if len(labels) < 2 or twice:
        what = f"has {twice[0]!r} twice" if twice else "has fewer than two names"
        raise TrainerError(f"{path} {what}; it must have one class name on each line, in the order of the scores")
    return labels


def _photos(args: argparse.Namespace, labels: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The photos to calibrate with, and the indexes of their labels: those of the validation split if there is one."""
    splits = {*find_splits(args.photos), *class_tables(args.photos)} if args.photos.is_dir() else set()
    listed = list_classes(args.photos, "valid" if "valid" in splits else None)
    index = match_folders(listed, labels, read_mapping(args.map) if args.map else {})
    return [(path, index[folder]) for folder, paths in listed.items() for path in paths]


def _logits(
    model: "keras.Model", spec: InputSpec, photos: list[tuple[Path, int]]
) -> tuple[list[tuple[Path, int]], NDArray[np.float32]]:
    """The photos that can be read, and the logits float32 (n * views, classes) of their views."""
    import tensorflow as tf

    run = tf.function(
        lambda images: model(images, training=False), autograph=False, reduce_retracing=True, jit_compile=False
    )
    kept, rows, unreadable = [], [], []
    with progress("Calibrating", len(photos)) as advance:
        for path, label in photos:
            try:
                data = path.read_bytes()
                views = np.stack([view(data, spec, name) for name in UNFLIPPED])
            except (OSError, ImageError) as error:
                unreadable.append(f"{path}: {error}")
            else:
                rows.append(np.asarray(run(tf.constant(views, tf.float32)), np.float32))
                kept.append((path, label))
            advance()
    for line in unreadable[:LISTED]:
        say(f"left out: {line}")
    if len(unreadable) > LISTED:
        say(f"and {len(unreadable) - LISTED} more")
    if not kept:
        raise TrainerError("no photo of --photos can be read")
    return kept, np.concatenate(rows)
