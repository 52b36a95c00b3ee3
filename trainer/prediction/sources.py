"""Find photos in folders, patterns, archives, lists on standard input and object storage, one after the other.

The order is fixed, so that a run can be resumed. Nothing is read before it is asked for, and only the names in a single
folder are in memory, so the number of photos does not matter.
"""

import glob
import os
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from trainer.data.splits import NOT_PHOTOS
from trainer.errors import TrainerError

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are not read: no photo is that large, and several photos are in memory at the same time."""

STDIN = "-"
"""The argument that stands for a list of photos on standard input."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_READ_ERRORS = (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
"""What reading an archive can raise; encrypted and oddly compressed members raise a RuntimeError."""


class Unreadable(Exception):
    """A file cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Photo:
    """A file that may be a photo.

    Attributes:
        name: Its path or URL. A member of an archive has the name of the archive in front: `photos.zip/cat/1.jpg`.
        read: Returns the content, or raises `Unreadable`.
        in_order: The file should be read before the next one is found: a compressed archive cannot go back.
    """

    name: str
    read: Callable[[], bytes]
    in_order: bool = False


@dataclass(frozen=True)
class Shard:
    """The part `number` (from 1) of `count` parts. A photo belongs to a part by its name alone."""

    number: int = 1
    count: int = 1

    def __contains__(self, name: str) -> bool:
        if self.count == 1:
            return True
        digest = blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number - 1


def find_photos(
    arguments: Sequence[str], shard: Shard, archives: ExitStack, lines: Iterable[str] = ()
) -> Iterator[Photo]:
    """Yields the photos of each argument in turn; those of a folder are sorted by name.

    Args:
        arguments: Files, folders, patterns such as `photos/*.jpg`, zip and tar archives, URLs such as `s3://bucket/dir`
            and `-` for `lines`.
        shard: Other photos are left out.
        archives: Receives the archives that are opened; photos in them can be read until it is closed.
        lines: The lines of standard input; each is one argument without patterns.

    Raises:
        TrainerError: An argument names nothing, or cannot be opened. A line of standard input that names nothing is
            a photo that cannot be read instead.
    """
    for argument in arguments:
        if argument == STDIN:
            for line in lines:
                if path := line.rstrip("\r\n"):
                    yield from _of_line(path, shard, archives)
        else:
            yield from _of_argument(argument, shard, archives)


def count_photos(arguments: Sequence[str], shard: Shard) -> int | None:
    """Returns the number of photos; None if it is only known at the end: of standard input and of tar archives."""
    if any(one == STDIN or one.lower().endswith(TAR_SUFFIXES) for one in arguments):
        return None
    with ExitStack() as archives:
        return sum(1 for _ in find_photos(arguments, shard, archives))


def check_arguments(arguments: Sequence[str]) -> None:
    """Checks before any slow work that local arguments exist.

    Raises:
        TrainerError: One does not.
    """
    for argument in arguments:
        if argument == STDIN or "://" in argument or os.path.lexists(argument):
            continue
        if not _matches(argument):
            what = "no file matches" if glob.has_magic(argument) else "there is no file or folder"
            raise TrainerError(f"{what} {argument}")


def standard_input() -> Iterator[str]:
    """Yields the lines of standard input; names that are not UTF-8 are kept, as in `os.fsdecode`."""
    for line in sys.stdin.buffer:
        yield os.fsdecode(line)


def _of_argument(argument: str, shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    if "://" in argument:
        yield from _of_url(argument, shard, archives)
    elif os.path.lexists(argument):
        yield from _of_path(argument, shard, archives)
    else:
        check_arguments([argument])
        for path in sorted(_matches(argument)):
            if "**" not in argument or not Path(path).is_dir():  # `**` also matches what is in the folders
                yield from _of_path(path, shard, archives)


def _of_line(path: str, shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    try:
        yield from _of_url(path, shard, archives) if "://" in path else _of_path(path, shard, archives)
    except TrainerError as error:
        if path in shard:
            yield _unreadable(path, str(error))


def _of_path(path: str, shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    if Path(path).is_dir():
        yield from _of_folder(path, shard, set())
    elif _is_archive(path) and Path(path).is_file():
        yield from _of_archive(path, partial(Path(path).open, "rb"), shard, archives)
    elif path in shard:
        yield Photo(path, partial(read_file, path))


def _of_folder(folder: str, shard: Shard, visited: set[tuple[int, int]]) -> Iterator[Photo]:
    try:
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:  # links can form cycles
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scanned:
            entries = sorted((one.name, one.is_dir(), one.is_file()) for one in scanned if not _is_hidden(one.name))
    except OSError as error:
        if folder in shard:
            yield _unreadable(folder, error.strerror or str(error))
        return
    for name, is_folder, is_file in entries:
        path = f"{folder.rstrip('/')}/{name}"
        if is_folder:
            yield from _of_folder(path, shard, visited)
        elif is_file and path in shard:
            yield Photo(path, partial(read_file, path))


def _of_url(url: str, shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    """Photos in object storage, or any other storage that fsspec has."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise TrainerError(f"{url} needs the package s3fs: pip install 'breed-gateway[s3]'") from error
    try:
        storage, path = fsspec.core.url_to_fs(url)
        if glob.has_magic(path):
            paths = storage.glob(path)
        elif storage.isdir(path):
            paths = storage.find(path)
        else:
            paths = [path]
            storage.info(path)
    except ImportError as error:
        raise TrainerError(f"{url} needs another package: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a storage that cannot list its files
        raise TrainerError(f"{url} cannot be read: {error or type(error).__name__}") from error
    single = len(paths) == 1 and paths[0] == path
    for file_path in sorted(paths):
        inside = file_path.removeprefix(path).split("/")
        name = storage.unstrip_protocol(file_path)
        if not single and any(_is_hidden(part) for part in inside if part):
            continue
        if single and _is_archive(file_path):
            yield from _of_archive(name, partial(storage.open, file_path, "rb"), shard, archives)
        elif name in shard:
            yield Photo(name, partial(_read_opened, partial(storage.open, file_path, "rb")))


def _of_archive(name: str, opened: Callable[[], Any], shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    members = _of_zip if name.lower().endswith(".zip") else _of_tar
    try:
        yield from members(name, archives.enter_context(opened()), shard, archives)
    except _READ_ERRORS as error:
        # What was found before stays; the rest cannot be found.
        if name in shard:
            yield _unreadable(name, f"the archive is damaged: {error or type(error).__name__}")


def _of_zip(name: str, file: IO[bytes], shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    archive = archives.enter_context(zipfile.ZipFile(file))
    for member in sorted(archive.infolist(), key=lambda one: one.filename):
        full = f"{name}/{member.filename}"
        if not member.is_dir() and not _in_hidden(member.filename) and full in shard:
            yield Photo(full, partial(_read_opened, partial(archive.open, member)))


def _of_tar(name: str, file: IO[bytes], shard: Shard, archives: ExitStack) -> Iterator[Photo]:
    archive = archives.enter_context(tarfile.open(fileobj=file, mode="r:*"))  # noqa: SIM115
    lock = threading.Lock()

    def read(member: tarfile.TarInfo) -> bytes:
        with lock:
            return _read_opened(partial(_extracted, archive, member))

    while True:
        with lock:
            member = archive.next()
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them
        if member is None:
            return
        full = f"{name}/{member.name}"
        if member.isfile() and not _in_hidden(member.name) and full in shard:
            yield Photo(full, partial(read, member), in_order=True)


def _matches(pattern: str) -> list[str]:
    paths = glob.glob(pattern, recursive=True)  # noqa: PTH207, keeps the pattern's own spelling and absolute paths
    fixed = len(glob.escape(pattern).partition("[")[0].rpartition("/")[0])  # the folders before the first wildcard
    return [path for path in paths if not _in_hidden(path[fixed:])]


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    assert file is not None  # only regular files are asked for
    return file


def read_file(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
        Unreadable: It cannot be read.
    """
    if not Path(path).is_file():  # never wait for a pipe
        raise Unreadable("there is no such file" if not os.path.lexists(path) else "this is not a file")
    return _read_opened(partial(open, path, "rb"))


def _read_opened(opened: Callable[[], Any]) -> bytes:
    try:
        with opened() as file:
            data: bytes = file.read(MAX_FILE_BYTES + 1)
    except _READ_ERRORS as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"the file is larger than {MAX_FILE_BYTES:,} bytes")
    return data


def _unreadable(name: str, reason: str) -> Photo:
    def read() -> bytes:
        raise Unreadable(reason)

    return Photo(name, read)


def _is_archive(name: str) -> bool:
    return name.lower().endswith((".zip", *TAR_SUFFIXES))


def _in_hidden(member: str) -> bool:
    return any(_is_hidden(part) for part in member.split("/") if part not in (".", ""))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in NOT_PHOTOS
