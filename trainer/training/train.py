"""`train`: a folder of photos to a published model, by the steps that every recipe shares."""

import argparse
import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from trainer import config as configuration
from trainer.check.labels import label_errors
from trainer.config import Config
from trainer.console import say
from trainer.data.added_photos import add_photos, list_added
from trainer.data.data_set import DataSet, list_labels, open_folder
from trainer.data.folders import SPLITS, Split
from trainer.data.photos import Photo, evenly
from trainer.errors import TrainerError
from trainer.evaluation import calibrate
from trainer.evaluation.baseline import baseline
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.intervals import wilson_interval
from trainer.export.precision import Limits, check_available
from trainer.model_card import JSON, Backbone, Card
from trainer.network.weights import check_weights_file, weights_source
from trainer.registry.publish import check_writable, new_version
from trainer.training.acceptance import check_accepted
from trainer.training.tracking import check_mlflow, log_to_mlflow, log_to_tensorboard

if TYPE_CHECKING:
    from trainer.training.stages import Fitted

LISTED = 10
"""Of unreadable photos and duplicates, how many are named on the terminal; the run's folder has them all."""

SPLIT_NAMES: Final[Mapping[Split, str]] = {"train": "train", "valid": "validation", "test": "test"}
"""What cards and people call the splits."""


def run(args: argparse.Namespace) -> int:
    """Runs `train`; returns the exit status."""
    values = dict(configuration.RECIPES[args.recipe]) if args.recipe else {}
    if args.config:
        values |= configuration.read(args.config)
    given = configuration.from_arguments(args)
    if args.show:
        sys.stdout.write(Config(**(values | given)).to_toml())  # type: ignore[arg-type]
        return 0
    config = configuration.make(values | given)
    for line in configuration.without_effect(config, given):
        say(f"warning: {line}")
    train(config, args)
    return 0


def train(config: Config, args: argparse.Namespace) -> Path:
    """Trains, exports, publishes and evaluates a model; returns the version's directory.

    Stopped at any point and called again with the same configuration and photos, it goes on where it was.

    Args:
        config: What to train on and how.
        args: Where to put things and how to use the machine: see `add_places`; `unknown` as for `evaluate`.

    Raises:
        TrainerError: The data or the configuration cannot work, or the export computes something else.
    """
    cache = args.cache_dir or args.runs_dir / "cache"
    check_writable(args.models_dir, config.name)
    check_weights_file(config.weights)
    labels = list_labels(Path(config.data), config.limit, config.class_numbers)
    added = list_added([Path(folder) for folder in config.add], labels)
    classes = len(labels) + len(added.new_labels)
    if config.output == "sigmoid" and classes != 2:
        raise TrainerError(f"a sigmoid tells two classes apart, {_sources(config)} has {classes}: use softmax")

    # TensorFlow takes seconds to load: only now that there is something to compute.
    from trainer.evaluation.evaluate import evaluate, summary
    from trainer.export.parity import PHOTOS
    from trainer.export.quantization import Int8
    from trainer.export.saved_model import EXTRA, export_model
    from trainer.network import assemble
    from trainer.training.export_trial import check_exportable
    from trainer.training.stages import Machine, Stages, input_spec, training_precision

    # Before photos are read, which may take an hour: whether the network can be had and exported.
    check_available(config.precision)
    if args.mlflow:
        check_mlflow()
    network = assemble.build(config, classes, precision=training_precision(args.training_precision))
    check_exportable(network.model, config, input_spec(network, config), cache)
    data = open_folder(
        Path(config.data),
        cache,
        valid_share=config.valid_share,
        test_share=config.test_share,
        seed=config.seed,
        limit=config.limit,
        class_numbers=config.class_numbers,
        duplicates=config.duplicates,
        workers=args.workers,
    )
    if added.files:
        add_photos(data, added, cache, duplicates=config.duplicates, workers=args.workers)
    if added.new_labels:
        measured = "cross-validation covers them" if config.logistic else "measure them with `evaluate` on other photos"
        say(f"new classes: {', '.join(added.new_labels)}; validation has no photos of them, {measured}")
    folder = _run_folder(config, data, args.runs_dir)
    _report_data(data, folder)
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")

    tensorboard = folder / "tensorboard" if args.tensorboard else None
    fitted = Stages(config, data, network, Machine(cache, args.workers, tensorboard), folder / "state").run()
    (folder / "history.json").write_text(json.dumps(fitted.history, indent=1), encoding="utf-8")
    _report_labels(data, fitted, folder, config)
    calibration = fitted.calibration
    card = describe(config, data, fitted)
    for line in warnings(fitted):
        say(f"warning: {line}")
    if not args.force:
        check_accepted(card, args.models_dir)
    other = calibration.other_logit
    model = fitted.model if other is None else assemble.with_other(fitted.model, other)
    for split, figures in card.metrics.items():
        say(f"{split}: {figures['photos']} photos, accuracy {figures['accuracy']}{_interval(figures)}")
    if "cross-validation" in card.metrics:
        say(_folds(card))
    if card.unknown_rates:
        say(_unknown(card.unknown_rates))
    held_out: Split = "test" if data.photos["test"] else "valid"
    links = _linked(data.photos["test"] or data.photos["valid"], folder / held_out)
    with new_version(args.models_dir, config.name) as draft:
        photos = [photo.path.read_bytes() for photo in evenly(data.photos["valid"], PHOTOS)]
        int8 = None
        if config.precision == "int8":
            say("quantising: a minute for a small network, more where operations have to stay in float32")
            limits = Limits(config.max_accuracy_loss, config.min_same_top1)
            int8 = Int8.of(data, range(len(data.labels)), fitted.spec, limits, args.workers)
        exported = export_model(model, card, draft.directory, photos=photos, precision=config.precision, int8=int8)
        shutil.copy(folder / "history.json", draft.directory / EXTRA)
        (draft.directory / EXTRA / "config.toml").write_text(config.without_places().to_toml(), encoding="utf-8")
    published = f"published as {config.name} version {draft.version}"
    try:
        say(exported.summary())
        say(f"{published}: {draft.path}")
        forget(folder / "state")
        name = f"{Path(config.data).resolve().name} ({SPLIT_NAMES[held_out]})"
        exported.written.directory = draft.path
        evaluation = evaluate(exported.written, links, unknown=args.unknown, output=folder, name=name)
    except BaseException as error:
        # The same command would train another version.
        again = ["evaluate", str(draft.path), str(links), "--output", str(folder)]
        again += ["--unknown", str(args.unknown)] if args.unknown else []
        error.add_note(f"{published}; only the report is missing: python -m trainer {shlex.join(again)}")
        raise
    say(f"the exported model on {SPLIT_NAMES[held_out]}: {summary(evaluation)}")
    if tensorboard is not None:
        log_to_tensorboard(tensorboard, config, card)
        say(f"TensorBoard: tensorboard --logdir {shlex.quote(str(args.runs_dir / config.name))}")
    if args.mlflow:
        say(f"MLflow: run {log_to_mlflow(config, card, fitted.history, folder, draft.path)} of {config.name}")
    say(f"report: {folder / 'report.html'}")
    return draft.path


def forget(state: Path) -> None:
    """Deletes what a run goes on from, first of all under this name: half of it would be taken for a whole."""
    if not state.exists():  # nothing was fitted in steps
        return
    old = state.with_name(f"{state.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    state.rename(old)
    shutil.rmtree(old)


def describe(config: Config, data: DataSet, fitted: "Fitted") -> Card:
    """Returns the card of a fitted model: what it was trained on, how it is calibrated, how good it is."""
    calibration, found = fitted.calibration, fitted.cross_validation
    photos = {SPLIT_NAMES[split]: counts for split, counts in data.counts().items()}
    metrics = {
        SPLIT_NAMES[split]: _metrics(calibration, logits, _truth(data, split))
        for split, logits in fitted.logits.items()
    }
    if found is not None:
        accuracies = found.accuracies()
        metrics["cross-validation"] = _metrics(calibration, _as_output(found.logits, config), found.labels) | {
            "folds": len(accuracies),
            "standard_deviation": round(float(np.std(accuracies)), 4),
        }
    source = weights_source(config.weights)
    names = tuple(Path(one).name for one in config.add)
    settings = dataclasses.asdict(dataclasses.replace(config, data=Path(config.data).name, add=names, weights=source))
    card = Card(
        name=config.name,
        labels=data.labels,
        input=fitted.spec,
        backbone=Backbone(config.backbone, source),
        noun=config.noun or None,
        description=config.description or f"Tells {len(data.labels)} classes apart, trained on photos of each.",
        training={
            "photos": photos,
            **_added(data),
            "fingerprint": data.fingerprint,
            **_learning_curve(fitted),
            "settings": settings,
        },
        metrics=metrics,
        other_labels=() if calibration.other_logit is None else (None,),
        temperature=calibration.temperature,
        unknown_threshold=calibration.threshold,
        unknown_rule=calibration.rule,
        unknown_rates=calibration.unknown,
        label_sets={}
        if calibration.set_score is None
        else {"coverage": calibration.coverage, "least_score": calibration.set_score},
    )
    unseen = fitted.logits["valid"] if found is None else _as_output(found.logits, config)
    return dataclasses.replace(card, baseline=baseline(card, calibration.probabilities(unseen)))


def _added(data: DataSet) -> dict[str, JSON]:
    """The number of added photos by label, where there are any."""
    counts = Counter(data.labels[photo.label] for photo in data.added)
    return {"added": dict(sorted(counts.items()))} if counts else {}


def _sources(config: Config) -> str:
    return " with ".join((config.data, *config.add))


def _learning_curve(fitted: "Fitted") -> dict[str, JSON]:
    if fitted.cross_validation is None:
        return {}
    points = fitted.cross_validation.learning_curve
    return {
        "learning_curve": [
            {"photos": photos, "tested": tested, "accuracy": round(accuracy, 4)} for photos, tested, accuracy in points
        ]
    }


def warnings(fitted: "Fitted") -> list[str]:
    """Returns what makes the figures of a model less certain than they look, a sentence each."""
    found = []
    if calibrate.at_bound(fitted.calibration.temperature):
        found.append(
            f"the temperature is {fitted.calibration.temperature:g}, the end of its range: the photos for calibration "
            "are too few, or the model learned nothing, so its scores do not say how sure it is"
        )
    if fitted.cross_validation is None:
        found.append(
            "the validation photos also decided on epochs, temperature and threshold, so accuracy on them is "
            "optimistic; photos in a test folder, or --test-share, give a figure that is not"
        )
    return found


def _as_output(logits: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Logits of two classes as a sigmoid has them."""
    return np.diff(logits) if config.output == "sigmoid" else logits


def _interval(figures: Mapping[str, JSON]) -> str:
    return " (95 % interval {} to {})".format(*cast("Sequence[float]", figures["accuracy_interval"]))


def _folds(card: Card) -> str:
    found, held_out = card.metrics["cross-validation"], card.metrics["validation"]
    return (
        f"{found['folds']} folds: the standard deviation of their accuracies is {found['standard_deviation']}\n"
        f"labels with a score of {card.label_sets['least_score']} or more hold the true one for "
        f"{held_out['label_set_coverage']:.1%} of the validation photos, {held_out['label_set_size']} labels on average"
    )


def _unknown(rates: Mapping[str, JSON]) -> str:
    return (
        f"unknown, in cross-validation: {rates['known_called_unknown']:.1%} of {rates['known_photos']} photos are "
        f"called unknown; of {rates['left_out_photos']} photos of classes that were left out, "
        f"{rates['left_out_taken_for_known']:.1%} are taken for another class (AUROC {rates['auroc']:.3f})"
    )


def _truth(data: DataSet, split: Split) -> NDArray[np.int64]:
    return np.array([photo.label for photo in data.photos[split]], np.int64)


def _metrics(calibration: Calibration, logits: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, JSON]:
    every = calibration.probabilities(logits)
    probabilities = every if calibration.other_logit is None else every[:, :-1]
    known = probabilities.max(axis=1) if calibration.other_logit is None else probabilities.sum(axis=1)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    right = int((ranked[:, 0] == truth).sum())
    sets: dict[str, JSON] = {}
    if calibration.set_score is not None:
        inside = probabilities >= calibration.set_score
        sets = {
            "label_set_coverage": round(float(inside[np.arange(len(truth)), truth].mean()), 4),
            "label_set_size": round(float(inside.sum(axis=1).mean()), 4),
        }
    return {
        "photos": len(truth),
        "accuracy": round(right / len(truth), 4),
        "accuracy_interval": [round(end, 4) for end in wilson_interval(right, len(truth))],
        "top5_accuracy": round(float((ranked[:, :5] == truth[:, np.newaxis]).any(axis=1).mean()), 4),
        "expected_calibration_error": round(calibrate.expected_calibration_error(probabilities, truth), 4),
        "known_under_threshold": round(float((known < calibration.threshold).mean()), 4),
        **sets,
    }


def _run_folder(config: Config, data: DataSet, runs: Path) -> Path:
    """The folder of this run: the same configuration on the same photos finds its own again.

    Left out is what does not change the training, so that another export of a run that was stopped goes on from there.
    """
    trained = dataclasses.replace(
        config,
        data="",
        add=(),
        name="",
        description="",
        noun="",
        precision="float32",
        max_accuracy_loss=0.0,
        min_same_top1=0.0,
    )
    text = trained.to_toml() + data.fingerprint
    folder = runs / config.name / hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _report_data(data: DataSet, folder: Path) -> None:
    counted = ", ".join(f"{len(data.photos[split])} {split}" for split in SPLITS if data.photos[split])
    say(f"{len(data.labels)} classes; photos: {counted}")
    if data.added:
        classes = sorted({data.labels[photo.label] for photo in data.added})
        say(f"{len(data.added)} of the train photos were added, of {len(classes)} classes: {', '.join(classes)}")
    for what, lines in (("unreadable, left out", data.unreadable), ("duplicates, left out", data.duplicates)):
        if lines:
            say(f"{len(lines)} {what}:")
            for line in lines[:LISTED]:
                say(f"  {line}")
            if len(lines) > LISTED:
                say(f"  and {len(lines) - LISTED} more: {folder / 'data.json'}")
    for line in data.warnings:
        say(f"warning: {line}")
    found = {"unreadable": data.unreadable, "duplicates": data.duplicates, "warnings": data.warnings}
    (folder / "data.json").write_text(json.dumps(found | {"photos": data.counts()}, indent=1), encoding="utf-8")


def _report_labels(data: DataSet, fitted: "Fitted", folder: Path, config: Config) -> None:
    """Reports training photos whose labels are probably wrong, and adds them to data.json."""
    found = fitted.cross_validation
    if found is None:
        return
    probabilities = calibrate.softmax(found.logits, calibrate.fit_temperature(found.logits, found.labels))
    errors = label_errors(probabilities, found.labels)
    listed: list[dict[str, JSON]] = []
    for one in errors:
        photo = data.photos["train"][found.tested[one.photo]]
        listed.append(
            {
                "photo": str(photo.path),
                "label": data.labels[photo.label],
                "suggested": data.labels[one.suggested],
                "score": round(one.score, 4),
                "given_score": round(one.given_score, 4),
            }
        )
    if listed:
        say(f"{len(listed)} training photos may have a wrong label: breed check {shlex.quote(config.data)} shows them")
    path = folder / "data.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"label_errors": listed}, indent=1), encoding="utf-8"
    )


def _linked(photos: list[Photo], folder: Path) -> Path:
    """A folder of links to photos by class, so that the evaluation sees those of one split and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, photo in enumerate(photos):
        link = folder / photo.folder.replace("/", "_") / f"{number}-{photo.path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `train`."""
    parser.usage = "%(prog)s DATA --name NAME [OPTION ...]"
    parser.epilog = textwrap.fill(
        "The defaults above apply without a recipe. A run publishes MODELS_DIR/NAME/VERSION and writes to "
        "RUNS_DIR/NAME/ID: report.html, evaluation.json, config.toml (for --config), history.json and data.json "
        "(photos that were left out, with reasons)."
    )
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="folder of photos: DATA/CLASS/ or DATA/{train,valid,test}/CLASS/"
    )
    parser.add_argument(
        "--add",
        action="append",
        metavar="OUT",
        help="folder of more photos for training by class, as `collect` writes it; may be repeated. A label that DATA "
        "does not have becomes a class",
    )
    parser.add_argument("--name", help="name of the model, for example dog_breed")
    parser.add_argument(
        "--recipe",
        choices=list(configuration.RECIPES),
        help="preset of settings, which options override; dog-breeds: a head on bottleneck features of DenseNet-201; "
        "cats-dogs: VGG-16 with its last block fine-tuned (--epochs 0 --fine-tune-epochs 20)",
    )
    parser.add_argument("--show", action="store_true", help="print the settings as TOML, and train nothing")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of settings, as every run writes it; options override it"
    )
    parser.add_argument("--unknown", type=Path, metavar="DIR", help="photos of other things than the classes")
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish the model even if it is poor or worse than before",
    )
    group = parser.add_argument_group("tracking")
    group.add_argument(
        "--tensorboard", action="store_true", help="write metrics for TensorBoard to RUNS_DIR/NAME/ID/tensorboard"
    )
    group.add_argument(
        "--mlflow",
        action="store_true",
        help="log parameters, metrics, report and model to the MLflow server of MLFLOW_TRACKING_URI",
    )
    add_places(parser)
    configuration.add_arguments(parser)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Adds options for directories and for the machine. They do not change the results."""
    group = parser.add_argument_group("directories and machine")
    for flag, default, text in (
        ("--models-dir", "models", "directory of the published models"),
        ("--runs-dir", "runs", "directory of results, reports and the state of stopped runs"),
    ):
        group.add_argument(flag, type=Path, default=Path(default), metavar="DIR", help=f"{text} (default: %(default)s)")
    group.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="features and decoded photos, by content; may be deleted (default: RUNS_DIR/cache)",
    )
    group.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of threads that decode photos (default: %(default)s)",
    )
    group.add_argument(
        "--training-precision",
        choices=["auto", "float32", "mixed_float16"],
        default="auto",
        help="precision of the training; auto: mixed_float16 on a GPU, otherwise float32",
    )
