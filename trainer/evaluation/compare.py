"""The command `compare`: two versions on the same photos, and whether the difference is more than chance."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.console import progress, say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.folders import list_classes, list_files
from trainer.errors import TrainerError
from trainer.evaluation import comparison_report
from trainer.evaluation.comparison import Comparison, Prediction, Row, Speed, Version
from trainer.evaluation.metrics import Answer
from trainer.evaluation.sources import find_slices
from trainer.options import add_directory, add_map, add_models_dir, add_unknown

if TYPE_CHECKING:
    from trainer.export.saved_classifier import SavedClassifier

BATCH_SIZE = 16
"""Photos in a call, beside single ones, for the measurement of speed."""

SECONDS = 2.0
"""Time for each measurement of speed."""


def compare(
    a: Path,
    b: Path,
    data: Sequence[Path],
    *,
    unknown: Path | None = None,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    slices: Path | None = None,
    seconds: float = SECONDS,
) -> Comparison:
    """Runs two exported models on the same photos.

    Args:
        a: SavedModel of the first version.
        b: SavedModel of the second version.
        data: Folders of photos by class; see `evaluate`.
        unknown: Folder of photos of other things, which the models should not recognise.
        split: Split of divided folders; None for test if it exists, otherwise valid.
        mapping: Labels of folders whose names do not match a label.
        slices: CSV file of files and further columns; see `find_slices`.
        seconds: Time for each measurement of speed; 0: do not measure it.

    Raises:
        TrainerError: A model or folder cannot be used, a folder matches no label, or no photo can be read.
    """
    from trainer.export.saved_classifier import SavedClassifier

    models = SavedClassifier(a), SavedClassifier(b)
    if any(model.card.multi_label for model in models):
        raise TrainerError("multi-label models cannot be compared yet; run breed evaluate on each of them")
    folders = [(one, list_classes(one, split)) for one in data]
    others = list_files(unknown) if unknown else []
    if unknown and not others:
        raise TrainerError(f"{unknown} is empty; it should contain photos of other things")
    labels = list(dict.fromkeys((*models[0].card.labels, *models[1].card.labels)))
    photos: list[tuple[Path, str, Path]] = []
    true: list[str] = []
    for data_set, classes in folders:
        matched = match_folders(classes, labels, mapping or {})
        for folder, paths in classes.items():
            photos += [(data_set, folder, path) for path in paths]
            true += [labels[matched[folder]]] * len(paths)
    slice_values = find_slices(photos, slices)
    unreadable: list[str] = []
    rows, strangers = [], []
    paths = [path for *_, path in photos]
    with progress("Comparing", 2 * (len(paths) + len(others))) as advance:
        for (first, second), label in zip(_answers(models, paths, unreadable), true, strict=True):
            advance(2)
            if first.probabilities is not None and second.probabilities is not None:
                predictions = Prediction.of(first, models[0].card, label), Prediction.of(second, models[1].card, label)
                rows.append(Row(first.path, label, *predictions, slice_values[first.path]))
        for first, second in _answers(models, others, unreadable):
            advance(2)
            if first.probabilities is not None and second.probabilities is not None:
                strangers.append(
                    (Prediction.of(first, models[0].card, None), Prediction.of(second, models[1].card, None))
                )
    if not rows:
        raise TrainerError(f"no photo can be read: {unreadable[0]}")
    speeds = measure(models, seconds) if seconds else (None, None)
    versions = [_version(model, speed) for model, speed in zip(models, speeds, strict=True)]
    names = [one.resolve().name for one in data]
    return Comparison(versions[0], versions[1], names, rows, strangers, unreadable)


def _answers(
    models: "tuple[SavedClassifier, SavedClassifier]", paths: Sequence[Path], unreadable: list[str]
) -> Iterator[tuple[Answer, Answer]]:
    for first, second in zip(models[0].answers(paths), models[1].answers(paths), strict=True):
        if first.probabilities is None:
            unreadable.append(f"{first.path.parent.name}/{first.path.name}: {first.error}")
        yield first, second


def measure(models: "tuple[SavedClassifier, SavedClassifier]", seconds: float) -> tuple[Speed, Speed]:
    """Measures the speed of both in turns, with random pixels, so that other load affects them equally."""
    from trainer.evaluation.benchmark import timed_in_turn

    generator = np.random.default_rng(0)
    took: list[list[float]] = []
    with progress("Measuring the speed", 2) as advance:
        for size in (1, BATCH_SIZE):
            runs = {}
            for at, model in enumerate(models):
                spec = model.card.input
                images = generator.integers(0, 256, (size, spec.height, spec.width, 3), np.uint8)
                runs[str(at)] = lambda model=model, images=images: model.probabilities(images)
            durations = timed_in_turn(runs, seconds)
            took.append([1e3 * float(np.median(durations[name][0])) / size for name in runs])
            advance()
    single, batch = took
    return Speed(single[0], batch[0], BATCH_SIZE), Speed(single[1], batch[1], BATCH_SIZE)


def _version(model: "SavedClassifier", speed: Speed | None) -> Version:
    size = sum(file.stat().st_size for file in model.directory.rglob("*") if file.is_file())
    return Version(model.card, model.directory, size, speed)


def find_model(text: str, models_dir: Path) -> Path:
    """Returns the folder that `NAME/VERSION`, `NAME` (for its newest version) or the path of a SavedModel means.

    Raises:
        TrainerError: There is neither.
    """
    for path in (Path(text), models_dir / text):
        if path.is_dir():
            return path
    raise TrainerError(f"there is no SavedModel {text} and no version {models_dir / text}")


def write(comparison: Comparison, output: Path) -> None:
    """Writes `comparison.json` and `comparison.html` to a folder."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "comparison.json").write_text(json.dumps(comparison.to_json(), indent=1), encoding="utf-8")
    (output / "comparison.html").write_text(comparison_report.render(comparison), encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `compare`."""
    for name, text in (("a", "first version, usually the older one"), ("b", "second version")):
        parser.add_argument(name, metavar=name.upper(), help=f"{text}: NAME/VERSION, or the folder of a SavedModel")
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="photos in DATA/CLASS/ or DATA/{train,valid,test}/CLASS/; each of several folders is a slice",
    )
    parser.add_argument(
        "--split", choices=("train", "valid", "test"), help="split of a divided DATA (default: test or valid)"
    )
    add_unknown(parser)
    add_map(parser)
    parser.add_argument(
        "--slices",
        type=Path,
        metavar="FILE",
        help="CSV file with a column of files; each further column with few values divides the photos into slices",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="N",
        help="time for each measurement of speed; 0: do not measure it (default: %(default)g)",
    )
    add_directory(parser, "--output", "runs/comparison", "folder for comparison.html and comparison.json")
    add_models_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Compares two versions, and prints a summary and the path of the page."""
    comparison = compare(
        find_model(args.a, args.models_dir),
        find_model(args.b, args.models_dir),
        args.data,
        unknown=args.unknown,
        split=args.split,
        mapping=read_mapping(args.map) if args.map else {},
        slices=args.slices,
        seconds=args.seconds,
    )
    write(comparison, args.output)
    say(summary(comparison))
    say(f"page: {args.output / 'comparison.html'}")
    return 0


def summary(comparison: Comparison) -> str:
    """Returns the most important figures as a few lines of text."""
    right, (differ, photos) = comparison.right, comparison.disagreement
    accuracies = f"accuracy A {right.first:.3f}, B {right.second:.3f}"
    lines = [
        f"A is {comparison.a.title}, B is {comparison.b.title}",
        f"{right.photos} photos: {accuracies}; the best labels differ on {differ} ({differ / photos:.1%})",
        comparison.verdict(),
    ]
    lines += [
        f"  worse: {group.name}, {group.right.first:.3f} to {group.right.second:.3f}"
        for group in comparison.classes
        if group.knows == "both" and group.right.worse > group.right.better
    ]
    for group in comparison.classes:
        if group.knows != "both":
            share = group.right.first if group.knows == "A" else group.right.second
            lines.append(f"  only in {group.knows}: {group.name}, {share:.3f} of {group.right.photos} photos right")
    if comparison.a.speed and comparison.b.speed:
        lines.append(
            f"a call with one photo: A {comparison.a.speed.one_ms:.1f} ms, B {comparison.b.speed.one_ms:.1f} ms"
        )
    if comparison.unreadable:
        lines.append(
            f"skipped {len(comparison.unreadable)} files that cannot be read, such as {comparison.unreadable[0]}"
        )
    return "\n".join(lines)
