"""A cache file of arrays of equal shape, by key."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.errors import TrainerError

KEY_BYTES = 16
"""blake2b cut to 128 bits: two photos of a billion share a key with a chance of 1e-21."""

Scalar = TypeVar("Scalar", bound=np.generic)


class RecordStore(Generic[Scalar]):
    """An append-only file of (key, array) records of one dtype and shape, read through a memory map.

    The file is locked, so only one process can use it at a time. If a process is killed while it writes, the next one
    removes the incomplete record.

        with RecordStore(Path("features"), np.float32, (1280,)) as store:
            store.add([key], rows)
            store.rows([key])  # float32 (1, 1280)

    Raises:
        TrainerError: Another process has the file open.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        self._record = np.dtype([("key", f"V{KEY_BYTES}"), ("value", dtype, shape)])
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise TrainerError(f"the cache {path} is in use by another run; wait until it ends") from error
        records = os.fstat(self._file.fileno()).st_size // self._record.itemsize
        self._file.truncate(records * self._record.itemsize)
        self._map = self._mapped()
        self._position = {bytes(key): at for at, key in enumerate(self._map["key"])}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # The memory map has a copy of the descriptor, which would keep the lock until it is garbage-collected.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()

    def __contains__(self, key: bytes) -> bool:
        return key in self._position

    def add(self, keys: Sequence[bytes], values: NDArray[Scalar]) -> None:
        """Appends a record for each key that is not in the file yet; `values` has the shape (keys, *shape)."""
        new = [at for at, key in enumerate(keys) if key not in self._position]
        records = np.empty(len(new), self._record)
        records["key"] = np.array([keys[at] for at in new], f"V{KEY_BYTES}")
        records["value"] = values[new]
        self._file.write(records.tobytes())
        self._file.flush()
        for at in new:
            self._position[keys[at]] = len(self._position)

    def rows(self, keys: Sequence[bytes]) -> NDArray[Scalar]:
        """Returns copies of the records with these keys, (keys, *shape).

        Raises:
            KeyError: One of them is not in the file.
        """
        if len(self._map) < len(self._position):
            self._map = self._mapped()
        values: NDArray[Scalar] = self._map["value"][[self._position[key] for key in keys]]
        return values

    def _mapped(self) -> NDArray[np.void]:
        if os.fstat(self._file.fileno()).st_size == 0:  # An empty file cannot be mapped.
            return np.empty(0, self._record)
        return np.memmap(self._file, self._record, mode="r")
