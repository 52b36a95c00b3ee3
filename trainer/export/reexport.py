"""`export`: a version that was exported before, once more: in another precision, as the next version of its model."""

import argparse
import os
import shutil
from pathlib import Path

from trainer.console import say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.data_set import DataSet, open_folder
from trainer.data.photos import evenly
from trainer.errors import TrainerError
from trainer.export.precision import LOSS_HELP, TOP1_HELP, Limits, add_precision, check_available
from trainer.registry.publish import add_models_dir, check_writable, new_version

VALID_SHARE = 0.5
"""Of photos without a split, those that are measured on; the others calibrate."""


def run(args: argparse.Namespace) -> int:
    """Exports and publishes; returns the exit status."""
    check_available(args.precision)
    if args.precision == "int8" and args.data is None:
        raise TrainerError("int8 needs photos that the model knows, to quantise with and to measure on: give DATA")

    # TensorFlow takes seconds to load: only now that there is something to compute.
    import keras

    from trainer.export.parity import PHOTOS
    from trainer.export.quantization import Int8
    from trainer.export.saved_classifier import SavedClassifier
    from trainer.export.saved_model import EXTRA, export_model, logits_of

    old = SavedClassifier(args.model_dir)
    card, kept = old.card, old.directory / EXTRA / "model.keras"
    name = args.name or card.name
    check_writable(args.models_dir, name)
    data = _photos(args) if args.data else None
    int8 = None
    if data is not None and args.precision == "int8":
        labels = list(match_folders(data.labels, card.labels, read_mapping(args.map) if args.map else {}).values())
        int8 = Int8.of(data, labels, card.input, Limits(args.max_accuracy_loss, args.min_same_top1), args.workers)
        say(f"quantising with {len(int8.calibration)} photos, measuring on {len(int8.validation)}")
    try:
        model = logits_of(keras.models.load_model(kept, compile=False))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{kept} cannot be read: {str(error).splitlines()[0]}") from error
    photos = [photo.path.read_bytes() for photo in evenly(data.photos["valid"], PHOTOS)] if data else []
    with new_version(args.models_dir, name) as draft:
        exported = export_model(model, card, draft.directory, photos=photos, precision=args.precision, int8=int8)
        for file in ("history.json", "config.toml"):
            if (old.directory / EXTRA / file).is_file():
                shutil.copy(old.directory / EXTRA / file, draft.directory / EXTRA / file)
    say(exported.summary())
    say(f"{old.directory} is published as {name} version {draft.version}: {draft.path}")
    return 0


def _photos(args: argparse.Namespace) -> DataSet:
    data = open_folder(args.data, args.cache_dir, valid_share=VALID_SHARE, test_share=0.0, seed=0, workers=args.workers)
    for line in data.unreadable:
        say(f"left out: {line}")
    return data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `export`."""
    parser.add_argument(
        "model_dir", type=Path, metavar="MODEL_DIR", help="models/NAME/VERSION, or models/NAME for the newest version"
    )
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        metavar="DATA",
        help="photos in DATA/CLASS/ or DATA/{train,valid}/CLASS/, which int8 needs: train calibrates, valid measures",
    )
    add_precision(parser)
    parser.add_argument(
        "--max-accuracy-loss",
        type=float,
        default=Limits.max_accuracy_loss,
        metavar="POINTS",
        help=f"{LOSS_HELP} (default: %(default)s)",
    )
    parser.add_argument(
        "--min-same-top1",
        type=float,
        default=Limits.min_same_top1,
        metavar="PERCENT",
        help=f"{TOP1_HELP} (default: %(default)s)",
    )
    parser.add_argument("--map", type=Path, metavar="FILE", help="TOML or JSON file: folder = label")
    parser.add_argument("--name", help="name to publish the model under (default: its present name)")
    add_models_dir(parser)
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=Path("runs/cache"),
        metavar="DIR",
        help="cache of decoded photos; may be deleted (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads that decode photos (default: %(default)s)",
    )
