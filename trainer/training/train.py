"""`train`: a folder of photos to a published model, by the steps that every recipe shares."""

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path

from trainer import config_sources
from trainer.config import Config, make, without_effect
from trainer.console import say
from trainer.data.added_photos import add_photos, list_added
from trainer.data.data_set import list_labels, open_folder
from trainer.data.photos import evenly
from trainer.data.splits import Split
from trainer.errors import TrainerError
from trainer.export.precision import Limits, check_available
from trainer.memory import import_tensorflow
from trainer.network.backbone_names import check_backbone_available
from trainer.network.weights import check_weights_file
from trainer.registry.publish import check_writable, new_version
from trainer.training.acceptance import check_accepted
from trainer.training.describe import SPLIT_NAMES, describe, figure_lines, warnings
from trainer.training.options import add_arguments
from trainer.training.run_folder import forget, link_photos, report_data, report_labels, run_folder
from trainer.training.tracking import check_mlflow, log_to_mlflow, log_to_tensorboard

__all__ = ["add_arguments", "run", "train"]


def run(args: argparse.Namespace) -> int:
    """Runs `train`; returns the exit status."""
    values = dict(config_sources.RECIPES[args.recipe]) if args.recipe else {}
    if args.config:
        values |= config_sources.read(args.config)
    options = config_sources.from_arguments(args)
    if args.show:
        sys.stdout.write(Config(**(values | options)).to_toml())  # type: ignore[arg-type]
        return 0
    config = make(values | options)
    for line in without_effect(config, options):
        say(f"warning: {line}")
    train(config, args)
    return 0


def train(config: Config, args: argparse.Namespace) -> Path:
    """Trains, exports, publishes and evaluates a model; returns the version's directory.

    If it was stopped, it is resumed by a call with the same configuration and photos.

    Args:
        config: The settings of the training.
        args: Options for folders and for the machine, see `add_places`; and `unknown`, as for `evaluate`.

    Raises:
        TrainerError: The data or the configuration cannot be used, or the export differs from the trained model.
    """
    cache = args.cache_dir or args.runs_dir / "cache"
    check_writable(args.models_dir, config.name)
    check_weights_file(config.weights)
    check_backbone_available(config.backbone)
    labels = list_labels(Path(config.data), config.limit, config.class_numbers, multi_label=config.multi_label)
    added = list_added([Path(folder) for folder in config.add], labels)
    classes = len(labels) + len(added.new_labels)
    if config.output == "sigmoid" and classes != 2:
        raise TrainerError(
            f"--output sigmoid needs two classes, and {_sources(config)} has {classes}; use --output softmax"
        )

    # TensorFlow takes seconds to load: only now that there is something to compute.
    import_tensorflow()
    from trainer.evaluation.evaluate import evaluate, summary
    from trainer.export.parity import PHOTOS
    from trainer.export.quantization import Int8
    from trainer.export.saved_model import EXTRA, export_model
    from trainer.network import assemble
    from trainer.training.export_trial import check_exportable
    from trainer.training.stages import Machine, Stages, input_spec, training_precision

    # Build and export the network before photos are read, which may take an hour.
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
        multi_label=config.multi_label,
    )
    if added.files:
        add_photos(data, added, cache, duplicates=config.duplicates, workers=args.workers)
    if added.new_labels:
        measured = "cross-validation covers them" if config.logistic else "measure them with `evaluate` on other photos"
        say(f"new classes: {', '.join(added.new_labels)}; validation has no photos of them, {measured}")
    folder = run_folder(config, data, args.runs_dir)
    report_data(data, folder)
    written = folder / "config.draft"
    written.write_text(config.to_toml(), encoding="utf-8")
    written.replace(folder / "config.toml")  # at once: `runs` may be reading it

    tensorboard = folder / "tensorboard" if args.tensorboard else None
    fitted = Stages(config, data, network, Machine(cache, args.workers, tensorboard), folder / "state").run()
    (folder / "history.json").write_text(json.dumps(fitted.history, indent=1), encoding="utf-8")
    if fitted.cross_validation is not None and not config.multi_label:
        report_labels(data, fitted.cross_validation, folder, config.data)
    calibration = fitted.calibration
    card = describe(config, data, fitted)
    for line in warnings(fitted):
        say(f"warning: {line}")
    if not args.force:
        check_accepted(card, args.models_dir)
    other = calibration.other_logit
    model = fitted.model if other is None else assemble.with_other(fitted.model, other)
    if config.tta == "flip":
        model = assemble.with_mirror(model)
        say("--tta flip: each answer needs the network twice, for the photo and its mirror image")
    for line in figure_lines(card):
        say(line)
    held_out: Split = "test" if data.photos["test"] else "valid"
    several = data.labels if config.multi_label else None
    links = link_photos(data.photos["test"] or data.photos["valid"], folder / held_out, several)
    with new_version(args.models_dir, config.name) as draft:
        photos = [photo.path.read_bytes() for photo in evenly(data.photos["valid"], PHOTOS)]
        int8 = None
        if config.precision == "int8":
            say("quantizing: a minute for a small network, more where operations have to stay in float32")
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
        error.add_note(f"{published}; only the report is missing: breed {shlex.join(again)}")
        raise
    say(f"the exported model on {SPLIT_NAMES[held_out]}: {summary(evaluation)}")
    if tensorboard is not None:
        log_to_tensorboard(tensorboard, config, card)
        say(f"TensorBoard: tensorboard --logdir {shlex.quote(str(args.runs_dir / config.name))}")
    if args.mlflow:
        say(f"MLflow: run {log_to_mlflow(config, card, fitted.history, folder, draft.path)} of {config.name}")
    say(f"report: {folder / 'report.html'}")
    return draft.path


def _sources(config: Config) -> str:
    return " with ".join((config.data, *config.add))
