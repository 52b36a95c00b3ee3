"""Where closed segments and photos are kept: a folder, or object storage through fsspec."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol


class Storage(Protocol):
    """Files by name; names are relative and use ``/``. Errors are `OSError`.

    Attributes:
        spool: Folder of this machine for files that are not complete, or could not be moved to the storage yet.
    """

    spool: Path

    def put(self, file: Path, name: str) -> None:
        """Move a local file here. It appears whole or not at all."""

    def write(self, content: bytes, name: str) -> None:
        """Write a file. It appears whole or not at all."""

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of all files below a folder."""

    def read(self, name: str) -> bytes:
        """Read a file."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""


class Folder:
    """A folder of this machine.

    Raises:
        OSError: It cannot be made, or files in it cannot.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.spool = root / "records"
        self.spool.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.spool):
            pass

    def put(self, file: Path, name: str) -> None:
        """See `Storage`."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)

    def write(self, content: bytes, name: str) -> None:
        """See `Storage`."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(target)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Storage`."""
        for path in (self._root / folder).rglob("*"):
            with suppress(FileNotFoundError):  # another replica deleted it
                if path.is_file():
                    yield path.relative_to(self._root).as_posix(), path.stat().st_size

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return (self._root / name).read_bytes()

    def delete(self, name: str) -> None:
        """See `Storage`."""
        (self._root / name).unlink(missing_ok=True)


class ObjectStorage:
    """An address that fsspec knows, such as ``s3://bucket/folder``.

    Args:
        address: The address. Credentials come from the environment, as the file system's package documents it.

    Raises:
        ImportError: fsspec, or the package for this kind of address, is not installed.
        ValueError: The kind of address is unknown.
        OSError: There is no folder for incomplete files.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(address)
        # Of this user alone, and the same after a restart, which ships what was left.
        mine = hashlib.sha256(address.encode()).hexdigest()[:12]
        self.spool = Path(tempfile.gettempdir()) / f"breed-gateway-{os.getuid()}" / mine
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.spool.parent.stat().st_uid != os.getuid():
            raise OSError(f"{self.spool.parent} belongs to another user")

    def put(self, file: Path, name: str) -> None:
        """See `Storage`."""
        with _os_errors():
            self._files.put_file(str(file), f"{self._root}/{name}")
        file.unlink()

    def write(self, content: bytes, name: str) -> None:
        """See `Storage`."""
        with _os_errors():
            self._files.pipe_file(f"{self._root}/{name}", content)

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Storage`."""
        with _os_errors():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._root}/{folder}", detail=True)
        for path, info in found.items():
            if info["type"] == "file":  # s3fs lists an empty folder as itself
                yield path.removeprefix(f"{self._root}/"), int(info["size"])

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _os_errors():
            return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def delete(self, name: str) -> None:
        """See `Storage`."""
        with suppress(FileNotFoundError), _os_errors():
            self._files.rm_file(f"{self._root}/{name}")


class _os_errors:  # noqa: N801 - a context manager
    """Turns whatever a file system's package raises into `OSError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise OSError(str(error)) from error


def open_storage(address: str) -> Storage:
    """The storage at an address: a path, or a URL for fsspec.

    Raises:
        ImportError, ValueError, OSError: As `Folder` and `ObjectStorage` raise them.
    """
    return ObjectStorage(address) if "://" in address else Folder(Path(address))
