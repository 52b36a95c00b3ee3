"""Publish model versions: a complete version appears under the next number, or none at all."""

import argparse
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.console import say
from trainer.errors import TrainerError
from trainer.options import add_models_dir

DRAFT_PREFIX = ".draft-"
"""Model servers ignore names that are not numbers; the dot also hides a draft in listings."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def is_name(name: str) -> bool:
    """Whether this is a valid model name; see `check_name`."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Returns the name if it is a valid model name: usable as a directory and as a segment of a URL.

    Raises:
        TrainerError: It does not consist of 1 to 64 letters, digits, `_` and `-`, or does not start with a letter or
            digit.
    """
    if not is_name(name):
        raise TrainerError(
            f"{name!r} is not a model name; use 1 to 64 letters, digits, '_' and '-', starting with a letter or digit"
        )
    return name


def published_versions(models_dir: Path, name: str) -> list[int]:
    """Returns the version numbers of a model in ascending order; an empty list if it has none."""
    directory = models_dir / check_name(name)
    if not directory.is_dir():
        return []
    entries = (entry for entry in directory.iterdir() if entry.is_dir() and is_version(entry.name))
    return sorted(int(entry.name) for entry in entries)


def is_version(text: str) -> bool:
    """Whether text is a version number: a positive integer without leading zeros."""
    return re.fullmatch(r"[1-9][0-9]{0,17}", text) is not None


class Draft:
    """An unpublished version. Write the SavedModel into `directory`; publishing assigns the number."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """Where the version was published: `models/<name>/<version>`."""
        if self._path is None:
            raise RuntimeError("the draft is not published yet; it gets its path at the end of the with block")
        return self._path

    @property
    def version(self) -> int:
        """The number that the version was published under."""
        return int(self.path.name)

    def _publish(self) -> None:
        if not any(self.directory.iterdir()):
            raise TrainerError(f"nothing was written to {self.directory}; an empty version cannot be published")
        _sync_tree(self.directory)
        while self._path is None:
            target = self.directory.parent / str(_next_number(self.directory.parent))
            # Two publishers may choose the same number. rename(2) does not replace a directory that is not empty, so
            # one of them fails here and tries the next number.
            try:
                self.directory.rename(target)
            except OSError:
                if not target.exists():
                    raise
                continue
            self._path = target
        _sync(self.directory.parent)


@contextmanager
def new_version(models_dir: Path, name: str) -> Iterator[Draft]:
    """Creates a hidden directory for a model, and publishes it as the next version at the end of the block.

    The draft is on the same filesystem as the versions. It is synced to disk and then renamed, so a server never sees
    an incomplete version. It is removed if the block raises, including KeyboardInterrupt.

        with new_version(Path("models"), "dog_breed") as draft:
            export_model(model, card, draft.directory)
        print(draft.version, draft.path)

    Raises:
        TrainerError: The name is not a model name, nothing was written, or the directory cannot be created.
    """
    parent = models_dir / check_name(name)
    # Not tempfile.mkdtemp: a server that runs as another user could not read a directory with its mode 0700.
    directory = parent / f"{DRAFT_PREFIX}{secrets.token_hex(6)}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise TrainerError(f"cannot write to {parent}: {error.strerror}") from error
    draft = Draft(directory)
    try:
        yield draft
        draft._publish()
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def check_writable(models_dir: Path, name: str) -> None:
    """Checks before a training that a version can be written. Creates nothing.

    Raises:
        TrainerError: The name is not a model name, or the directory cannot be created.
    """
    folder = models_dir / check_name(name)
    existing = next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110 - it never raises
    if not existing.is_dir():
        raise TrainerError(f"cannot write to {folder}: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise TrainerError(f"cannot write to {folder}: {existing} is not writable")


def _next_number(directory: Path) -> int:
    # TensorFlow Serving reads "007" as version 7.
    return max((int(entry.name) for entry in directory.iterdir() if re.fullmatch("[0-9]+", entry.name)), default=0) + 1


def _sync_tree(directory: Path) -> None:
    for root, _, files in os.walk(directory):
        for file in files:
            _sync(Path(root, file))
        _sync(Path(root))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `publish`."""
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="SavedModel: a folder with saved_model.pb")
    parser.add_argument("--name", required=True, help="name of the model, for example dog_breed")
    add_models_dir(parser)
    add_untried(parser)


def add_untried(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--untried`, for models that cannot be tested with a generated image."""
    parser.add_argument("--untried", action="store_true", help="do not test the model with an image first")


def run(args: argparse.Namespace) -> int:
    """Publishes a copy of a SavedModel as the next version of a model."""
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
            shown = path.relative_to(directory)
            if path.is_symlink() and not (path.resolve().is_relative_to(inside) and path.is_file()):
                raise TrainerError(
                    f"{directory} contains the link {shown}, which leads out of it or not to a file; publish a copy "
                    "without links, made with cp -rL"
                )
            if not (path.is_file() or path.is_dir()):
                raise TrainerError(f"{directory} contains {shown}, which is neither a file nor a folder")
            wanted = 0o005 if path.is_dir() else 0o004
            if path.stat().st_mode & wanted != wanted:
                raise TrainerError(
                    f"{directory} contains {shown}, which not every user can read; the model server may run as another "
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
        raise TrainerError(
            f"{directory} is not a SavedModel: saved_model.pb cannot be read: {error.strerror}"
        ) from error
    except DecodeError as error:
        raise TrainerError(f"{directory} is not a SavedModel: saved_model.pb is corrupt") from error
    served = [graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise TrainerError(f"{directory} has no graph with the tag 'serve'; model servers reject it")
    names = {name for graph in served for name in graph.signature_def if not name.startswith("__")}
    if not names:
        raise TrainerError(f"{directory} has no signature; a model server needs one")
    return sorted(names)
