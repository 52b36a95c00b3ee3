"""Model versions on disk: a new one appears whole, under the next number, or not at all."""

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

DRAFT_PREFIX = ".draft-"
"""Servers ignore every name that is not a number; a dot hides it from people as well."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def is_name(name: str) -> bool:
    """Whether a model may be called so; see `check_name`."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Returns a model's name when it is one directory name and one segment of an address, and nothing more.

    Raises:
        TrainerError: It is not 1 to 64 letters, digits, `_` and `-`, the first a letter or digit.
    """
    if not is_name(name):
        raise TrainerError(
            f"{name!r} is not a model name: 1 to 64 ASCII letters, digits, '_' and '-', starting with a letter or digit"
        )
    return name


def published_versions(models_dir: Path, name: str) -> list[int]:
    """Returns the version numbers of a model that servers would see, in ascending order; none if it has none."""
    directory = models_dir / check_name(name)
    if not directory.is_dir():
        return []
    entries = (entry for entry in directory.iterdir() if entry.is_dir() and is_version(entry.name))
    return sorted(int(entry.name) for entry in entries)


def is_version(text: str) -> bool:
    """Whether text is a version number: a positive integer without leading zeros."""
    return re.fullmatch(r"[1-9][0-9]{0,17}", text) is not None


class Draft:
    """A version in the making: write the SavedModel into `directory`; the number is known once it is published."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """Where the version was published: `models/<name>/<version>`."""
        if self._path is None:
            raise RuntimeError("the draft is not published yet: its path is known after the with block")
        return self._path

    @property
    def version(self) -> int:
        """The number that the version was published under."""
        return int(self.path.name)

    def _publish(self) -> None:
        if not any(self.directory.iterdir()):
            raise TrainerError(f"nothing was written to {self.directory}: an empty version is not published")
        _sync_tree(self.directory)
        while self._path is None:
            target = self.directory.parent / str(_next_number(self.directory.parent))
            # Two publishers may have counted to the same number. rename(2) never replaces a directory that has files
            # in it, so one of them fails here and takes the number after.
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
    """Gives a hidden directory to write a model to, and publishes it as the next version when the block succeeds.

    The draft lies beside the versions, so on their filesystem; it is synced to disk and renamed in one step, so a
    server never sees half a version. It is removed when the block raises, Ctrl-C included.

        with new_version(Path("models"), "dog_breed") as draft:
            export_model(model, card, draft.directory)
        print(draft.version, draft.path)

    Raises:
        TrainerError: The name is not a model name, nothing was written, or the directory cannot be made.
    """
    parent = models_dir / check_name(name)
    # Not tempfile.mkdtemp: its 0700 would hide the version from a server that runs as another user.
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
    """Checks, and leaves nothing behind, that a version could be written; or hours of training would be for nothing.

    Raises:
        TrainerError: The name is not a model name, or the directory cannot be made.
    """
    folder = models_dir / check_name(name)
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110 - it never raises
    if not there.is_dir():
        raise TrainerError(f"cannot write to {folder}: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise TrainerError(f"cannot write to {folder}: {there} is not writable")


def _next_number(directory: Path) -> int:
    # "007" counts too: TensorFlow Serving would read it as version 7.
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


def add_models_dir(parser: argparse.ArgumentParser) -> None:
    """Adds `--models-dir`, which every command means alike."""
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="where models are published (default: %(default)s)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `publish`."""
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="a SavedModel: the folder of saved_model.pb")
    parser.add_argument("--name", required=True, help="the model's name, such as dog_breed")
    add_models_dir(parser)
    add_untried(parser)


def add_untried(parser: argparse.ArgumentParser) -> None:
    """Adds `--untried`, for models whose calls cannot be made up here."""
    parser.add_argument("--untried", action="store_true", help="do not run an image through the model before")


def run(args: argparse.Namespace) -> int:
    """Copies a SavedModel that was made elsewhere in as the next version of a model."""
    signatures = saved_model_signatures(args.directory)
    check_files(args.directory)
    check_name(args.name)
    came_of_it = "not tried" if args.untried else _tried(args.directory)
    with new_version(args.models_dir, args.name) as draft:
        mode = draft.directory.stat().st_mode
        shutil.copytree(args.directory, draft.directory, dirs_exist_ok=True)
        draft.directory.chmod(mode)  # a folder made by mkdtemp is its owner's alone, the version must not be
    say(f"{args.name} version {draft.version}: {draft.path} ({', '.join(signatures)}); {came_of_it}")
    if "describe" not in signatures:
        for file in sorted((draft.path / "assets").glob("*label*")):
            options = json.dumps({args.name: {"labels": str(file)}})
            say(f"the gateway reads {file.name} only if it is told to: GATEWAY_MODEL_OPTIONS='{options}'")
    return 0


def _tried(directory: Path) -> str:
    from trainer.export.tf_logging import quiet
    from trainer.registry.trial import TrialError, try_saved_model

    try:
        with quiet():
            return try_saved_model(directory)
    except TrialError as error:
        raise TrainerError(
            f"{directory} is not published: it {error}. A Keras model is exported with model.export(FOLDER); "
            "--untried publishes it all the same"
        ) from error


def check_files(directory: Path) -> None:
    """Checks that a folder holds nothing that must not be published.

    Raises:
        TrainerError: It holds a link that leads out of it or to a folder, what is neither file nor folder, or a file
            that not everybody may read: the model server may run as another user, and publishing shows the file to
            whoever can read the models.
    """
    inside = directory.resolve()
    for root, folders, files in os.walk(directory):
        for path in (Path(root, name) for name in (*folders, *files)):
            shown = path.relative_to(directory)
            if path.is_symlink() and not (path.resolve().is_relative_to(inside) and path.is_file()):
                raise TrainerError(
                    f"{directory} holds a link, {shown}, that leads out of it or to no file: publish a copy with the "
                    f"files themselves, such as that of cp -rL"
                )
            if not (path.is_file() or path.is_dir()):
                raise TrainerError(f"{directory} holds {shown}, which is neither a file nor a folder")
            wanted = 0o005 if path.is_dir() else 0o004
            if path.stat().st_mode & wanted != wanted:
                raise TrainerError(
                    f"{directory} holds {shown}, which not everybody may read, and the model server may run as another "
                    f"user: leave it out, or make it readable with chmod -R a+rX {directory}"
                )


def saved_model_signatures(directory: Path) -> list[str]:
    """Returns the names of the signatures that a SavedModel offers to a server, sorted.

    Raises:
        TrainerError: There is no SavedModel in the directory, or none that a server could answer with.
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
        raise TrainerError(f"{directory} is not a SavedModel: saved_model.pb is damaged") from error
    served = [graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise TrainerError(f"{directory} has no graph with the tag 'serve': model servers would refuse it")
    names = {name for graph in served for name in graph.signature_def if not name.startswith("__")}
    if not names:
        raise TrainerError(f"{directory} has no signature: a model server would have nothing to call")
    return sorted(names)
