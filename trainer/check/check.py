"""The command `check`: find problems in a folder of photos before training."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.check import page
from trainer.check.findings import CLASS_PROBLEMS, PROBLEMS, ClassFinding, Findings, PhotoFinding
from trainer.check.labels import HARDLY_SEPARABLE, alike_classes, label_errors
from trainer.check.mirrored import mirrored
from trainer.check.outliers import distances, outliers
from trainer.check.photos import copies, misnamed, quality_findings
from trainer.check.strays import unread_files
from trainer.config import DEFAULT_BACKBONE, Config
from trainer.console import say
from trainer.data.data_set import FEW_PHOTOS, Contents, read_folder
from trainer.data.photos import Photo
from trainer.data.quality import measure_all
from trainer.evaluation import calibrate
from trainer.evaluation.page import percent
from trainer.network.backbone_names import check_backbone_available
from trainer.network.weights import check_weights_file
from trainer.options import add_cache_dir, add_directory, add_network, add_workers
from trainer.training.cross_validation import hold_out
from trainer.training.logistic_head import Training

LISTED = 5
"""Photos of each problem that are named on the terminal; the page has all of them."""

UNBALANCED = 10
"""A class is unbalanced if another class has this many times its photos."""

FOLDS = 5


def check(data: Path, cache: Path, *, backbone: str, weights: str, size: int, workers: int, limit: int = 0) -> Findings:
    """Reads a folder of photos and returns its problems.

    Digests, measures and features of photos are cached by content, so that a second check, and `train` with the same
    backbone, take them from there.

    Args:
        data: The folder; see `open_folder`.
        cache: Folder of caches.
        backbone: Network whose features are compared.
        weights: Its weights, as for `train`.
        size: Its input size; 0 for that of the pretraining.
        workers: Threads that decode.
        limit: Maximum number of photos of each class folder; 0: no limit.

    Raises:
        TrainerError: The folder has no classes, or the network cannot be built.
    """
    contents = read_folder(data, cache, workers=workers, limit=limit)
    photos, findings = copies(contents)
    for path, label, reason in contents.unreadable:
        findings.append(PhotoFinding("unreadable", path, label, reason))
    findings += misnamed([photo for _, photo in contents.photos], contents.labels)
    features, input_size = _features(photos, len(contents.labels), cache, backbone, weights, size, workers)
    findings += quality_findings(photos, measure_all(photos, cache, workers), contents.labels, input_size)
    far = distances(features) if photos else np.zeros(0, np.float32)
    for at in outliers(far):
        text = f"distance {far[at]:.2f}; median {np.median(far):.2f}"
        findings.append(PhotoFinding("outlier", photos[at].path, contents.labels[photos[at].label], text))
    findings += _mirrored(contents, photos, features, workers)
    classes = _sizes(contents)
    accuracy, mislabelled, alike = _labels(photos, contents.labels, features)
    order = list(PROBLEMS)
    return Findings(
        data=data.resolve().name,
        counts=_counts(contents),
        accuracy=accuracy,
        photos=sorted(findings + mislabelled, key=lambda one: order.index(one.problem)),
        classes=classes + alike,
        warnings=[*contents.warnings, *unread_files(data)],
    )


def _features(
    photos: Sequence[Photo], classes: int, cache: Path, backbone: str, weights: str, size: int, workers: int
) -> tuple[NDArray[np.float32], int]:
    """Features of the plain view of each photo, and the input size of the network."""
    # TensorFlow takes seconds to load.
    from trainer.data.views import VIEWS, view_key
    from trainer.network import assemble
    from trainer.training.bottleneck_features import Extractor
    from trainer.training.stages import input_spec

    config = Config(backbone=backbone, weights=weights, size=size)
    network = assemble.build(config, classes)
    spec = input_spec(network, config)
    extractor = Extractor(network.features, spec, cache, workers)
    with extractor.store as store:
        extractor.extract(photos, VIEWS[:1])
        if not photos:
            return np.zeros((0, 1), np.float32), spec.height
        return store.rows([view_key(photo, VIEWS[0]) for photo in photos]), spec.height


def _mirrored(
    contents: Contents, photos: Sequence[Photo], features: NDArray[np.float32], workers: int
) -> list[PhotoFinding]:
    splits = {photo.path: split for split, photo in contents.photos}
    findings = []
    for later, earlier in mirrored(photos, features, workers):
        first, second = photos[later], photos[earlier]
        labels = [contents.labels[photo.label] for photo in (first, second)]
        text = "the mirror image"
        if labels[0] != labels[1]:
            text += f" is in {labels[1]!r}"
        elif splits[first.path] != splits[second.path]:
            text += f" is in {splits[second.path]}, this photo in {splits[first.path]}"
        findings.append(PhotoFinding("mirrored", first.path, labels[0], text, other=second.path))
    return findings


def _counts(contents: Contents) -> dict[str, int]:
    numbers = np.bincount([photo.label for _, photo in contents.photos], minlength=len(contents.labels))
    return {label: int(number) for label, number in zip(contents.labels, numbers, strict=True)}


def _sizes(contents: Contents) -> list[ClassFinding]:
    counts = _counts(contents)
    largest = max(counts.values())
    findings = []
    for label, count in counts.items():
        if not count:
            findings.append(ClassFinding("none", [label], "none of its files can be read; train needs at least one"))
        elif count < FEW_PHOTOS:
            findings.append(ClassFinding("few", [label], f"{count} photos; its figures mean little below {FEW_PHOTOS}"))
        elif count * UNBALANCED <= largest:
            findings.append(ClassFinding("unbalanced", [label], f"{count} photos; the largest class has {largest}"))
    return findings


def _labels(
    photos: Sequence[Photo], labels: Sequence[str], features: NDArray[np.float32]
) -> tuple[float | None, list[PhotoFinding], list[ClassFinding]]:
    """Cross-validated accuracy, photos with probably wrong labels, and classes that are alike."""
    present, truth = np.unique([photo.label for photo in photos], return_inverse=True)
    names = [labels[at] for at in present]
    counts = np.bincount(truth)
    if np.count_nonzero(counts >= 2) < 2:
        return None, [], []
    weights = (len(truth) / (len(names) * counts)).astype(np.float32)
    training = Training(features[:, np.newaxis], truth, [photo.key for photo in photos], weights)
    held_out = hold_out(training, FOLDS)
    assert held_out is not None
    tested = np.flatnonzero(held_out.fold >= 0)
    logits, truth = held_out.logits[tested], truth[tested]
    probabilities = calibrate.softmax(logits, calibrate.fit_temperature(logits, truth))
    mislabelled = [
        PhotoFinding(
            "label",
            photos[tested[one.photo]].path,
            names[truth[one.photo]],
            f"{names[one.suggested]} {percent(one.score)}, {names[truth[one.photo]]} {percent(one.given_score)}",
            suggested=names[one.suggested],
        )
        for one in label_errors(probabilities, truth)
    ]
    alike = [
        ClassFinding(
            "inseparable" if one.share >= HARDLY_SEPARABLE else "alike",
            [names[one.first], names[one.second]],
            f"{one.confused} of their photos ({one.share:.0%}) are taken for the other class",
        )
        for one in alike_classes(probabilities, truth)
    ]
    return float((logits.argmax(axis=1) == truth).mean()), mislabelled, alike


def summary(findings: Findings) -> str:
    """Returns the findings as lines of text."""
    lines = [f"{sum(findings.counts.values())} photos in {len(findings.counts)} classes"]
    if findings.accuracy is not None:
        lines[0] += f"; in cross-validation, {findings.accuracy:.1%} are classified as their labels say"
    lines += [f"warning: {line}" for line in findings.warnings]
    lines += [f"{CLASS_PROBLEMS[one.problem]}: {' and '.join(one.labels)}: {one.detail}" for one in findings.classes]
    for problem, (title, advice) in PROBLEMS.items():
        photos = findings.of(problem)
        if photos:
            lines.append(f"{title}: {len(photos)}. {advice}")
            lines += [f"  {one.photo} ({one.label}): {one.detail}" for one in photos[:LISTED]]
            if len(photos) > LISTED:
                lines.append(f"  and {len(photos) - LISTED} more")
    if not findings.photos and not findings.classes:
        lines.append("no problems found")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `check`."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of photos, as for train")
    add_directory(parser, "--output", "runs/check", "folder for check.html and check.json")
    add_cache_dir(parser)
    add_network(parser, DEFAULT_BACKBONE, "a file of weights, as for train")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="maximum number of photos of a class")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Checks a folder, prints a summary, and writes `check.html` and `check.json`; returns the exit status."""
    check_weights_file(args.weights)
    check_backbone_available(args.backbone)
    findings = check(
        args.data,
        args.cache_dir,
        backbone=args.backbone,
        weights=args.weights,
        size=args.size,
        workers=args.workers,
        limit=args.limit,
    )
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "check.json").write_text(json.dumps(findings.to_json(), indent=1), encoding="utf-8")
    (args.output / "check.html").write_text(page.render(findings), encoding="utf-8")
    say(summary(findings))
    say(f"report with photos: {args.output / 'check.html'}")
    data = shlex.quote(str(args.data))
    if findings.photos or findings.classes:
        say(f"next: correct the folders and repeat breed check {data}, or go on: breed train {data} --name NAME")
    else:
        say(f"next: breed train {data} --name NAME")
    return 0
