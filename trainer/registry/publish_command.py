"""The command `publish`: a SavedModel or a `.keras` file from elsewhere becomes the next version of a model."""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Final

from trainer.console import say
from trainer.errors import TrainerError
from trainer.options import add_map, add_models_dir, add_untried
from trainer.registry.publish import check_name, new_version

KERAS_OPTIONS: Final = ("labels", "preprocess", "fit", "photos", "noun", "map", "force")
"""Names of the options for `.keras` files, which are None if they are not used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `publish`."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="MODEL",
        help="SavedModel, which is a folder with saved_model.pb, or a .keras file",
    )
    parser.add_argument("--name", required=True, help="name of the model, for example dog_breed")
    add_models_dir(parser)
    add_untried(parser)
    _add_keras_arguments(parser)


def _add_keras_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options for a .keras file")
    group.add_argument("--labels", type=Path, metavar="FILE", help="class names in the order of scores, one per line")
    group.add_argument(
        "--preprocess",
        choices=("none", "rescale", "caffe", "torch", "tf"),
        help="what was done to pixels from 0 to 255 before the model got them: caffe, torch and tf are modes of "
        "preprocess_input of keras.applications; rescale: divided by 255 (default: none)",
    )
    group.add_argument(
        "--fit",
        choices=("crop", "pad", "squash"),
        help="how photos were fitted to the input; squash: as Keras does it (default: crop)",
    )
    group.add_argument(
        "--photos",
        type=Path,
        metavar="DATA",
        help="photos in DATA/CLASS/ that the model was not trained on, to calibrate its scores and to choose the "
        "threshold for unknown photos",
    )
    group.add_argument("--noun", help="what a label is, such as dog breed; the page uses it in its question")
    add_map(group)
    group.add_argument(
        "--force",
        action="store_true",
        default=None,
        help="publish the model even if, on --photos, it is no better than guessing or worse than the previous version",
    )


def run(args: argparse.Namespace) -> int:
    """Publishes a copy of a SavedModel, or an export of a `.keras` file, as the next version of a model."""
    if args.directory.suffix == ".keras":
        if args.untried:
            raise TrainerError("--untried: only for a SavedModel; the export of a .keras file is always tested")
        from trainer.export.publish_keras import publish_keras

        return publish_keras(args)
    used = [f"--{name}" for name in KERAS_OPTIONS if getattr(args, name) is not None]
    if used:
        raise TrainerError(f"{', '.join(used)}: only for a .keras file; describe a SavedModel in GATEWAY_MODEL_OPTIONS")
    signatures = saved_model_signatures(args.directory)
    check_files(args.directory)
    check_name(args.name)
    result = "not tested" if args.untried else _test(args.directory)
    with new_version(args.models_dir, args.name) as draft:
        mode = draft.directory.stat().st_mode
        shutil.copytree(args.directory, draft.directory, dirs_exist_ok=True)
        draft.directory.chmod(mode)  # a folder made by mkdtemp is its owner's alone, the version must not be
    say(f"{args.name} version {draft.version}: {draft.path} ({', '.join(signatures)}); {result}")
    if "describe" not in signatures:
        for file in sorted((draft.path / "assets").glob("*label*")):
            options = json.dumps({args.name: {"labels": str(file)}})
            say(f"to use {file.name}, set GATEWAY_MODEL_OPTIONS='{options}'")
    return 0


def _test(directory: Path) -> str:
    from trainer.export.tf_logging import quiet
    from trainer.registry.trial import TrialError, try_saved_model

    try:
        with quiet():
            return try_saved_model(directory)
    except TrialError as error:
        raise TrainerError(
            f"{directory} was not published: it {error}. Export Keras models with model.export(FOLDER). "
            "--untried skips the test"
        ) from error


def check_files(directory: Path) -> None:
    """Checks that every file in a folder can be published.

    Raises:
        TrainerError: The folder contains a link to a folder or out of the folder, a special file, or a file that only
            its owner can read. The model server may run as another user, and everyone who can read the models will be
            able to read the file.
    """
    inside = directory.resolve()
    for root, folders, files in os.walk(directory):
        for path in (Path(root, name) for name in (*folders, *files)):
            entry = path.relative_to(directory)
            if path.is_symlink() and not (path.resolve().is_relative_to(inside) and path.is_file()):
                raise TrainerError(
                    f"{directory} contains the link {entry}, which leads out of it or not to a file; publish a copy "
                    "without links, made with cp -rL"
                )
            if not (path.is_file() or path.is_dir()):
                raise TrainerError(f"{directory} contains {entry}, which is neither a file nor a folder")
            mode = 0o005 if path.is_dir() else 0o004
            if path.stat().st_mode & mode != mode:
                raise TrainerError(
                    f"{directory} contains {entry}, which not every user can read; the model server may run as another "
                    f"user. Remove it, or run chmod -R a+rX {directory}"
                )


def saved_model_signatures(directory: Path) -> list[str]:
    """Returns the sorted names of the signatures of a SavedModel.

    Raises:
        TrainerError: The directory has no SavedModel, or one that a model server cannot serve.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved_model = SavedModel()
    try:
        saved_model.ParseFromString((directory / "saved_model.pb").read_bytes())
    except OSError as error:
        meant = [one.parent for one in directory.glob("*/saved_model.pb")] or sorted(directory.glob("*.keras"))
        hint = f"Did you mean {meant[0]}?" if meant else "Keras writes one with model.export(FOLDER)"
        raise TrainerError(
            f"{directory} is not a SavedModel: saved_model.pb cannot be read: {error.strerror}. {hint}"
        ) from error
    except DecodeError as error:
        raise TrainerError(f"{directory} is not a SavedModel: saved_model.pb is corrupt") from error
    served = [graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise TrainerError(
            f"{directory} has no graph with the tag 'serve', which model servers need. A frozen graph and a module of "
            "TensorFlow 1's Hub have none: export the model as a SavedModel"
        )
    names = {name for graph in served for name in graph.signature_def if not name.startswith("__")}
    if not names:
        raise TrainerError(f"{directory} has no signature; a model server needs one")
    return sorted(names)
