"""Publish model versions: a complete version appears under the next number, or none at all."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import TrainerError

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
