"""The command `evaluate`: measure the quality of an exported model, with the decoding of the gateway."""

import argparse
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from gateway.images import ImageError
from trainer.console import progress, say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.folders import list_classes, list_files, list_labelled
from trainer.data.quality import Quality, measure
from trainer.errors import GatewayUnavailableError, TrainerError
from trainer.evaluation import report
from trainer.evaluation.metrics import Answer, Evaluation
from trainer.evaluation.multi_label_evaluation import MultiLabelEvaluation, MultiLabelTally
from trainer.evaluation.tally import Tally
from trainer.model_card import JSON, Card
from trainer.options import KEY_VARIABLE, add_directory, add_map, add_unknown, add_url

if TYPE_CHECKING:
    from trainer.evaluation.remote_classifier import RemoteClassifier
    from trainer.export.saved_classifier import SavedClassifier, Signature

UNREADABLE_SAID = 10
MEASURING = 2
"""Threads that measure photos, beside those that decode them for the model."""


def evaluate(
    model: "Path | SavedClassifier | RemoteClassifier",
    data: Path,
    *,
    unknown: Path | None,
    output: Path,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    name: str = "",
    signature: "Signature" = "pixels",
) -> Evaluation | MultiLabelEvaluation:
    """Evaluates a model on a folder of photos; writes `evaluation.json`, `predictions.jsonl` and `report.html`.

    Args:
        model: `models/<name>/<version>`, `models/<name>` for its newest version, or an opened model.
        data: `data/<class>/`, or `data/{train,valid,test}/<class>/`; of a multi-label model, see `list_labelled`.
        unknown: Folder of photos of other things, which the model should not recognise.
        output: Folder for the results.
        split: Split of a divided folder; None for test if it exists, otherwise valid.
        mapping: Labels of folders whose names do not match a label.
        name: Name of the photos in the report; by default that of the folder.
        signature: Signature to call.

    Raises:
        TrainerError: The model or the folder cannot be used, or a folder matches no label.
    """
    from trainer.export.saved_classifier import SavedClassifier

    others = list_files(unknown) if unknown else []
    if unknown and not others:
        raise TrainerError(f"{unknown} is empty; it should contain photos of other things")
    if isinstance(model, Path):
        model = SavedClassifier(model)
    card = model.card
    photos = _truths(card, data, split, mapping or {})
    # serving_default returns only the best classes, so the set of a photo may be larger than what it returns.
    sets = None if signature == "serving_default" else card.least_set_score
    tally = MultiLabelTally() if card.multi_label else Tally(card.labels, sets)
    output.mkdir(parents=True, exist_ok=True)
    with (
        (output / "predictions.jsonl").open("w", encoding="utf-8") as predictions,
        progress("Evaluating", len(photos) + len(others)) as advance,
        ThreadPoolExecutor(MEASURING) as pool,
    ):
        paths = [path for path, _ in photos]
        answers, measures = model.answers(paths, signature), pool.map(_measure, paths)
        for answer, measured, (_, truth) in zip(answers, measures, photos, strict=True):
            tally.add(answer, truth, measured)
            _write_prediction(predictions, answer, card, truth, measured)
            advance()
        for answer in model.answers(others, signature):
            tally.add_stranger(answer)
            _write_prediction(predictions, answer, card, None)
            advance()
    through = signature if isinstance(model, SavedClassifier) else "gateway"
    evaluation = tally.evaluation(card, model.directory, name or data.resolve().name, through)
    draft = output / "evaluation.draft"
    draft.write_text(json.dumps(evaluation.to_json(), indent=1), encoding="utf-8")
    draft.replace(output / "evaluation.json")  # at once: `runs` may be reading it
    report.write(evaluation, output)
    return evaluation


def _truths(
    card: Card, data: Path, split: str | None, mapping: Mapping[str, str]
) -> list[tuple[Path, tuple[int, ...]]]:
    """The photos, with the indexes of their labels: one of each, unless the model is multi-label."""
    if card.multi_label:
        listed = list_labelled(data, split)
    else:
        listed = [(path, (folder,)) for folder, paths in list_classes(data, split).items() for path in paths]
    names = dict.fromkeys(name for _, photo_labels in listed for name in photo_labels)
    index = match_folders(names, card.labels, mapping)
    return [(path, tuple(sorted(index[name] for name in photo_labels))) for path, photo_labels in listed]


def _measure(photo: Path) -> Quality | None:
    try:
        return measure(photo.read_bytes())
    except (OSError, ImageError):
        return None


def _write_prediction(
    file: TextIO, answer: Answer, card: Card, truth: tuple[int, ...] | None, measured: Quality | None = None
) -> None:
    """Writes a line of JSON: the photo, its true class (null for other things), and the scores or an error.

    Scores are sorted, best first. `known` is the value to compare with the threshold for "unknown". `width`, `height`,
    `brightness` and `sharpness` are measures of the photo. For a multi-label model, `true` is a list, and `labels` are
    those whose scores reach their thresholds.
    """
    labels = card.labels
    true: list[str] | str | None = None if truth is None else [labels[at] for at in truth]
    fields: dict[str, JSON] = {"photo": str(answer.path), "true": true if card.multi_label or not true else true[0]}
    if answer.probabilities is None:
        fields["error"] = answer.error
    else:
        if measured is not None:
            fields |= {"width": measured.width, "height": measured.height}
            fields |= {"brightness": measured.brightness, "sharpness": measured.sharpness}
        if card.multi_label:
            fields["labels"] = [
                labels[at] for at in np.flatnonzero(card.predicted_labels(answer.probabilities)).tolist()
            ]
        else:
            fields["known"] = round(answer.known_score, 6)
        scores = answer.probabilities.round(6).tolist()
        ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        fields["scores"] = {labels[at]: round(scores[at], 6) for at in ranked if scores[at] > 0}
    file.write(json.dumps(fields) + "\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate`."""
    parser.add_argument(
        "model_dir",
        type=Path,
        metavar="MODEL",
        help="models/NAME/VERSION, or models/NAME for the newest version; with --url: NAME, NAME/VERSION or NAME/LABEL",
    )
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="photos in DATA/CLASS/ or DATA/{train,valid,test}/CLASS/, or with a CSV file of labels",
    )
    parser.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        help="split of a divided DATA (default: test or valid)",
    )
    add_unknown(parser)
    parser.add_argument(
        "--signature",
        choices=("pixels", "serving_default"),
        default="pixels",
        help="pixels: decode photos like the gateway; serving_default: decode by TensorFlow, as for clients that send "
        "encoded photos to the model server (default: %(default)s)",
    )
    add_map(parser)
    add_url(parser)
    add_directory(
        parser, "--output", "runs/evaluation", "folder for evaluation.json, predictions.jsonl and report.html"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates a model, and prints a summary and the path of the report."""
    try:
        with ExitStack() as opened:
            evaluation = evaluate(
                opened.enter_context(closing(_remote(args))) if args.url else args.model_dir,
                args.data,
                unknown=args.unknown,
                output=args.output,
                split=args.split,
                mapping=read_mapping(args.map) if args.map else {},
                signature=args.signature,
            )
    except GatewayUnavailableError as error:
        error.add_note("--patience waits longer; the same command starts with the first photo again")
        raise
    say(summary(evaluation))
    say(f"report: {args.output / 'report.html'}")
    return 0


def _remote(args: argparse.Namespace) -> "RemoteClassifier":
    from trainer.evaluation.remote_classifier import RemoteClassifier

    if args.signature != "pixels":
        raise TrainerError("--signature does not work with --url: the gateway decides what it calls")
    return RemoteClassifier(args.url, str(args.model_dir), os.environ.get(KEY_VARIABLE), args.patience)


def summary(evaluation: Evaluation | MultiLabelEvaluation) -> str:
    """Returns the most important metrics as a few lines of text."""
    if isinstance(evaluation, MultiLabelEvaluation):
        return evaluation.summary()

    def interval(name: str) -> str:
        return " [{:.3f}, {:.3f}]".format(*evaluation.intervals[name]) if name in evaluation.intervals else ""

    figures = (
        f"{evaluation.photos} photos: accuracy {evaluation.accuracy:.3f}{interval('accuracy')}, "
        f"top-5 {evaluation.top5_accuracy:.3f}{interval('top5_accuracy')}, "
        f"macro F1 {evaluation.macro_f1:.3f}{interval('macro_f1')}, "
        f"expected calibration error {evaluation.reliability.expected_calibration_error:.3f}; "
        "in brackets 95 % intervals"
    )
    lines = [figures]
    if evaluation.threshold_rate is not None:
        lines.append(
            f"threshold {evaluation.card.unknown_threshold}: "
            f"{evaluation.threshold_rate:.3f}{interval('under_threshold')} of them are unknown"
        )
    if evaluation.unknown:
        auroc = f"{evaluation.unknown.auroc:.3f}{interval('auroc')}"
        text = f"{evaluation.unknown.photos} photos of other things: AUROC {auroc}"
        if evaluation.unknown.false_known_rate is not None:
            rate = f"{evaluation.unknown.false_known_rate:.3f}{interval('false_known_rate')}"
            text += f", {rate} of them classified as known"
        lines.append(text)
    if evaluation.unreadable:
        lines.append(f"skipped {len(evaluation.unreadable)} files that cannot be read:")
        lines += [f"  {line}" for line in evaluation.unreadable[:UNREADABLE_SAID]]
        if len(evaluation.unreadable) > UNREADABLE_SAID:
            lines.append(f"  and {len(evaluation.unreadable) - UNREADABLE_SAID} more, in the report")
    return "\n".join(lines)
