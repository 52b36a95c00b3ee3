"""`evaluate`: how good an exported model is, measured on the SavedModel itself, with the decoding of the gateway."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from trainer.console import progress, say
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.folders import list_classes, list_files
from trainer.errors import TrainerError
from trainer.evaluation import report
from trainer.evaluation.metrics import Answer, Evaluation, Tally
from trainer.model_card import JSON

if TYPE_CHECKING:
    from trainer.export.saved_classifier import SavedClassifier, Signature

UNREADABLE_SAID = 10


def evaluate(
    model: "Path | SavedClassifier",
    data: Path,
    *,
    unknown: Path | None,
    output: Path,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    name: str = "",
    signature: "Signature" = "pixels",
) -> Evaluation:
    """Measures a model on a folder of photos; writes `evaluation.json`, `predictions.jsonl` and `report.html`.

    Args:
        model: `models/<name>/<version>`, or `models/<name>` for its newest version; or one that is loaded.
        data: `data/<class>/`, or `data/{train,valid,test}/<class>/`.
        unknown: A folder of photos of other things, which the model should not know.
        output: The folder to write to.
        split: Which split of a divided folder; None is test when there is one, else valid.
        mapping: Labels of folders whose names do not match any.
        name: What the report calls the photos; without it, the name of the folder.
        signature: What the photos are answered through.

    Raises:
        TrainerError: The model or the folder cannot be used, or folders match no label.
    """
    from trainer.export.saved_classifier import SavedClassifier

    folders = list_classes(data, split)
    others = list_files(unknown) if unknown else []
    if unknown and not others:
        raise TrainerError(f"{unknown} has no files in it: it should hold photos of other things")
    if isinstance(model, Path):
        model = SavedClassifier(model)
    known = model.card.labels
    labels = match_folders(folders, known, mapping or {})
    photos = [(path, labels[folder]) for folder, paths in folders.items() for path in paths]
    tally = Tally(known)
    output.mkdir(parents=True, exist_ok=True)
    with (
        (output / "predictions.jsonl").open("w", encoding="utf-8") as predictions,
        progress("Evaluating", len(photos) + len(others)) as advance,
    ):
        answers = model.answers([path for path, _ in photos], signature)
        for answer, (_, label) in zip(answers, photos, strict=True):
            tally.add(answer, label)
            _write_prediction(predictions, answer, known, known[label])
            advance()
        for answer in model.answers(others, signature):
            tally.add_stranger(answer)
            _write_prediction(predictions, answer, known, None)
            advance()
    evaluation = tally.evaluation(model.card, model.directory, name or data.resolve().name, signature)
    (output / "evaluation.json").write_text(json.dumps(evaluation.to_json(), indent=1), encoding="utf-8")
    (output / "report.html").write_text(
        report.render(evaluation, report.read_history(model.directory)), encoding="utf-8"
    )
    return evaluation


def _write_prediction(file: TextIO, answer: Answer, labels: Sequence[str], true: str | None) -> None:
    """Writes one line of JSON: the photo, its true class (null: none of the model's), and scores, or an error.

    Scores are best first; `known` is what the threshold for "unknown" is compared with.
    """
    found: dict[str, JSON] = {"photo": str(answer.path), "true": true}
    if answer.probabilities is None:
        found["error"] = answer.error
    else:
        found["known"] = round(answer.known, 6)
        scores = answer.probabilities.round(6).tolist()
        ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        found["scores"] = {labels[at]: round(scores[at], 6) for at in ranked if scores[at] > 0}
    file.write(json.dumps(found) + "\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate`."""
    parser.add_argument(
        "model_dir", type=Path, metavar="MODEL_DIR", help="models/NAME/VERSION, or models/NAME for the newest version"
    )
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="photos in DATA/CLASS/ or DATA/{train,valid,test}/CLASS/"
    )
    parser.add_argument(
        "--split", choices=("train", "valid", "test"), help="of a divided DATA; default: test, else valid"
    )
    parser.add_argument("--unknown", type=Path, metavar="DIR", help="photos of things that the model should not know")
    parser.add_argument(
        "--signature",
        choices=("pixels", "serving_default"),
        default="pixels",
        help="pixels: photos are decoded as the gateway does it; serving_default: by TensorFlow, which is what clients "
        "are answered that send it encoded photos (default: %(default)s)",
    )
    parser.add_argument("--map", type=Path, metavar="FILE", help="TOML or JSON, folder = label, where names differ")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/evaluation"),
        metavar="DIR",
        help="where evaluation.json, predictions.jsonl and report.html are written (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Measures a model, prints the figures, and says where the report is."""
    evaluation = evaluate(
        args.model_dir,
        args.data,
        unknown=args.unknown,
        output=args.output,
        split=args.split,
        mapping=read_mapping(args.map) if args.map else {},
        signature=args.signature,
    )
    say(summary(evaluation))
    say(f"report: {args.output / 'report.html'}")
    return 0


def summary(evaluation: Evaluation) -> str:
    """Returns the figures that matter as a few lines of text."""

    def interval(name: str) -> str:
        return " [{:.3f}, {:.3f}]".format(*evaluation.intervals[name])

    error = evaluation.reliability.expected_calibration_error
    figures = (
        f"{evaluation.photos} photos: accuracy {evaluation.accuracy:.3f}{interval('accuracy')}, "
        f"top-5 {evaluation.top5_accuracy:.3f}, macro F1 {evaluation.macro_f1:.3f}{interval('macro_f1')}, "
        f"expected calibration error {error:.3f}; in brackets 95 % intervals"
    )
    lines = [figures]
    if evaluation.threshold_rate is not None:
        lines.append(
            f"threshold {evaluation.card.unknown_threshold}: {evaluation.threshold_rate:.3f} of them would be unknown"
        )
    if evaluation.unknown:
        auroc = f"{evaluation.unknown.auroc:.3f}{interval('auroc')}"
        text = f"{evaluation.unknown.photos} photos of other things: AUROC {auroc}"
        if evaluation.unknown.false_known_rate is not None:
            text += f", {evaluation.unknown.false_known_rate:.3f} of them taken for a known class"
        lines.append(text)
    if evaluation.unreadable:
        lines.append(f"{len(evaluation.unreadable)} files could not be read and were skipped:")
        lines += [f"  {line}" for line in evaluation.unreadable[:UNREADABLE_SAID]]
        if len(evaluation.unreadable) > UNREADABLE_SAID:
            lines.append(f"  and {len(evaluation.unreadable) - UNREADABLE_SAID} more, in the report")
    return "\n".join(lines)
