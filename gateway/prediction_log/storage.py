"""Where closed segments and photos are kept: a folder, or object storage through fsspec."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

PRIVATE = 0o700
"""Mode of folders: records and photos are personal data."""


class Storage(Protocol):
    """Files by name; names are relative and use ``/``. Errors are `OSError`.

    Attributes:
        spool: Folder of this machine for files that are not complete, or could not be moved to the storage yet.
        address: Names the storage in messages; without a password.
    """

    spool: Path
    address: str

    def put(self, file: Path, name: str) -> None:
        """Move a local file here. It appears whole or not at all."""

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of all files below a folder."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder."""

    def read(self, name: str) -> bytes:
        """Content of a file. Raises `FileNotFoundError` if it is not there."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""


class Folder:
    """A folder of this machine.

    Raises:
        OSError: It cannot be made, or files in it cannot.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.address = str(root)
        self.spool = root / "records"
        self.spool.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        with tempfile.TemporaryFile(dir=self.spool):
            pass

    def put(self, file: Path, name: str) -> None:
        """See `Storage`."""
        target = self._root / name
        for folder in (target.parent.parent, target.parent):
            folder.mkdir(exist_ok=True, mode=PRIVATE)
        file.replace(target)

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Storage`."""
        # Not Path.rglob, which takes three times as long for 10,000 files.
        with suppress(FileNotFoundError), os.scandir(self._root / folder) as entries:  # another process may delete it
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self.files(f"{folder}/{entry.name}")
                else:
                    with suppress(FileNotFoundError):
                        yield f"{folder}/{entry.name}", entry.stat().st_size

    def folders(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return (self._root / name).read_bytes()

    def delete(self, name: str) -> None:
        """See `Storage`."""
        (self._root / name).unlink(missing_ok=True)


class ObjectStorage:
    """An address that fsspec knows, such as ``s3://bucket/folder``.

    Credentials come from the environment, as the file system's package documents it.

    Raises:
        ImportError: fsspec, or the package for this kind of address, is not installed.
        ValueError: The kind of address is unknown.
        OSError: There is no folder for incomplete files.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(address)
        self.address = re.sub(r"//[^/@]*@", "//", address)
        # Of this user alone, and the same after a restart, which ships what was left.
        mine = hashlib.sha256(address.encode()).hexdigest()[:12]
        self.spool = Path(tempfile.gettempdir()) / f"breed-gateway-{os.getuid()}" / mine
        self.spool.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        if self.spool.parent.stat().st_uid != os.getuid():
            raise OSError(f"{self.spool.parent} belongs to another user")

    def put(self, file: Path, name: str) -> None:
        """See `Storage`."""
        with _os_errors():
            self._files.put_file(str(file), f"{self._root}/{name}")
        file.unlink()

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Storage`."""
        with _os_errors():
            self._files.invalidate_cache()
            entries = self._files.find(f"{self._root}/{folder}", detail=True)
        for path, info in entries.items():
            if info["type"] == "file":  # s3fs lists an empty folder as itself
                yield path.removeprefix(f"{self._root}/"), int(info["size"] or 0)

    def folders(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            with _os_errors():
                self._files.invalidate_cache()
                entries = self._files.ls(f"{self._root}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == "directory")

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _os_errors():
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def delete(self, name: str) -> None:
        """See `Storage`."""
        with suppress(FileNotFoundError), _os_errors():
            self._files.rm_file(f"{self._root}/{name}")


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns whatever a file system's package raises into `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error)) from error


def open_storage(address: str) -> Storage:
    """The storage at an address: a path, or a URL for fsspec. Raises as `Folder` and `ObjectStorage` do."""
    return ObjectStorage(address) if "://" in address else Folder(Path(address))
