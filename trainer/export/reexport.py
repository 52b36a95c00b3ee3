"""The command `export`: export a published version in another precision, or as a file for another runtime."""

import argparse
import os
import shutil
import typing
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gateway.images import ImageError, decode_image
from trainer.console import say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.data_set import DataSet, open_folder
from trainer.data.photos import evenly
from trainer.errors import TrainerError
from trainer.export.formats import CARD_FILE, FORMATS, Format, Reference
from trainer.export.portable import MAX_PHOTOS, export_file
from trainer.export.precision import LOSS_HELP, TOP1_HELP, Limits, Precision, check_available
from trainer.model_card import Card, InputSpec
from trainer.options import add_cache_dir, add_directory, add_map, add_model_dir, add_models_dir, add_workers
from trainer.prediction.sources import Shard, Unreadable, find_photos
from trainer.registry.publish import check_writable, new_version

if TYPE_CHECKING:
    import keras

    from trainer.export.quantization import Int8
    from trainer.export.saved_classifier import SavedClassifier

SAVED_MODEL: Final = "saved_model"

VALID_SHARE: Final = 0.5
"""Share of photos to measure on, if the photos have no split. The others are used to calibrate."""

Pixels = NDArray[np.uint8]


def run(args: argparse.Namespace) -> int:
    """Exports; returns the exit status."""
    if args.format == SAVED_MODEL:
        return _publish(args)
    form = FORMATS[args.format]
    form.check_precision(args.precision)
    if args.data is None:
        raise TrainerError("give DATA: a folder of photos on which the file is compared with the published version")
    return _write(args, form)


def _publish(args: argparse.Namespace) -> int:
    if args.precision == "float16":
        raise TrainerError("SavedModel is available in float32, bfloat16, int8, not in float16")
    if args.precision == "int8" and args.data is None:
        raise TrainerError("int8 needs photos that the model knows, to quantize with and to measure on: give DATA")

    # Load TensorFlow only now, because it takes seconds.
    from trainer.export.parity import PHOTOS
    from trainer.export.saved_classifier import SavedClassifier
    from trainer.export.saved_model import EXTRA, export_model

    old = SavedClassifier(args.model_dir)
    card = old.card
    _check_one_label(card, args.precision)
    check_available(args.precision)
    name = args.name or card.name
    check_writable(args.models_dir, name)
    data = _photos(args, old) if args.data else None
    int8 = _labelled(args, data, old) if data is not None and args.precision == "int8" else None
    model = _keras_model(old)
    photos = [photo.path.read_bytes() for photo in evenly(data.photos["valid"], PHOTOS)] if data else []
    with new_version(args.models_dir, name) as draft:
        exported = export_model(model, card, draft.directory, photos=photos, precision=args.precision, int8=int8)
        for file in ("history.json", "config.toml"):
            if (old.directory / EXTRA / file).is_file():
                shutil.copy(old.directory / EXTRA / file, draft.directory / EXTRA / file)
    say(exported.summary())
    say(f"{old.directory} is published as {name} version {draft.version}: {draft.path}")
    return 0


def _write(args: argparse.Namespace, form: Format) -> int:
    from trainer.export.saved_classifier import SavedClassifier

    old = SavedClassifier(args.model_dir)
    _check_one_label(old.card, args.precision)
    form.check_packages()
    check_available(args.precision)
    version = old.directory.name
    suffix = "" if args.precision == "float32" else f"-{args.precision}"
    folder = args.output or Path("exports") / f"{old.card.name}-{version}-{args.format}{suffix}"
    if folder.exists():
        raise TrainerError(f"{folder} exists; delete it, or give another --output")
    model = _keras_model(old)
    expected = _probabilities(old, model)
    if args.precision == "float32":
        photos = _any_photos(args.data, old.card.input)
        reference = Reference(photos, expected(photos))
    else:
        int8 = _labelled(args, _photos(args, old), old)
        reference = Reference(int8.validation, expected(int8.validation), int8.truth, int8.calibration, int8.limits)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        proof = export_file(args.format, model, old.card, draft, reference, args.precision)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(proof.summary(multi_label=old.card.multi_label))
    say(f"{old.directory} is exported to {folder / form.file}, its card also to {folder / CARD_FILE}")
    return 0


def _check_one_label(card: Card, precision: Precision) -> None:
    """Refuses precisions with a limit on the loss of accuracy, which is defined for one label for each photo."""
    if card.multi_label and precision in ("int8", "float16"):
        raise TrainerError(f"multi-label models cannot be exported in {precision} yet; --precision float32 works")


def _keras_model(old: "SavedClassifier") -> "keras.Model":
    from trainer.export.keras_copies import load_keras, logits_of
    from trainer.export.saved_model import EXTRA

    kept = old.directory / EXTRA / "model.keras"
    try:
        return logits_of(load_keras(kept))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{kept} cannot be read: {str(error).splitlines()[0]}") from error


def _probabilities(old: "SavedClassifier", model: "keras.Model") -> "Callable[[Pixels], NDArray[np.float32]]":
    """The reference for a file: the answers of the published version or, if it is in bfloat16, those of Keras."""
    from trainer.export.keras_runner import batched, keras_runner

    return batched(old.probabilities) if old.card.precision == "float32" else keras_runner(model, old.card)


def _any_photos(data: Path, spec: InputSpec) -> Pixels:
    """Photos of a folder, evenly chosen; labels are not needed."""
    if not data.exists():
        raise TrainerError(f"{data} does not exist")
    decoded = []
    with ExitStack() as archives:
        photos = list(find_photos([str(data)], Shard(), archives))
        for photo in evenly(photos, MAX_PHOTOS):
            try:
                decoded.append(decode_image(photo.read(), spec.target))
            except (Unreadable, ImageError) as error:
                say(f"left out: {photo.name}: {error}")
    if not decoded:
        raise TrainerError(f"there are no photos in {data} that can be read")
    return np.stack(decoded)


def _labelled(args: argparse.Namespace, data: DataSet, old: "SavedClassifier") -> "Int8":
    """Photos to calibrate and to measure with."""
    from trainer.export.quantization import Int8

    labels = list(match_folders(data.labels, old.card.labels, read_mapping(args.map) if args.map else {}).values())
    limits = Limits(args.max_accuracy_loss, args.min_same_top1)
    int8 = Int8.of(data, labels, old.card.input, limits, args.workers)
    say(f"quantizing with {len(int8.calibration)} photos, measuring on {len(int8.validation)}")
    return int8


def _photos(args: argparse.Namespace, old: "SavedClassifier") -> DataSet:
    data = open_folder(
        args.data,
        args.cache_dir,
        valid_share=VALID_SHARE,
        test_share=0.0,
        seed=0,
        workers=args.workers,
        multi_label=old.card.multi_label,
    )
    for line in data.unreadable:
        say(f"left out: {line}")
    return data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `export`."""
    add_model_dir(parser)
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        metavar="DATA",
        help="photos to compare on; for float16 and int8 in DATA/CLASS/ or DATA/{train,valid}/CLASS/, where train "
        "calibrates and valid measures",
    )
    parser.add_argument(
        "--format",
        choices=(SAVED_MODEL, *FORMATS),
        default=SAVED_MODEL,
        help="saved_model is published as the next version of the model; the others are files for other runtimes "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=typing.get_args(Precision),
        default="float32",
        help="precision of the computations; float16 is only for litert (default: %(default)s)",
    )
    add_directory(parser, "--output", None, "new folder for a file (default: exports/NAME-VERSION-FORMAT)")
    parser.add_argument(
        "--max-accuracy-loss",
        type=float,
        default=Limits.max_accuracy_loss,
        metavar="POINTS",
        help=f"float16 and int8: {LOSS_HELP} (default: %(default)s)",
    )
    parser.add_argument(
        "--min-same-top1",
        type=float,
        default=Limits.min_same_top1,
        metavar="PERCENT",
        help=f"float16 and int8: {TOP1_HELP} (default: %(default)s)",
    )
    add_map(parser)
    parser.add_argument("--name", help="name to publish a SavedModel under (default: its current name)")
    add_models_dir(parser)
    add_cache_dir(parser)
    add_workers(parser)
