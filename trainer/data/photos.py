"""Photos of a data set: which can be read, and what tells them apart."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.images import ImageError, Target, decode_image
from trainer.console import progress
from trainer.data.record_store import KEY_BYTES, RecordStore


@dataclass(frozen=True)
class Photo:
    """A readable photo: where it is, its class folder, its class (an index into the labels), a digest of its content.

    `look` is a 64-bit difference hash: near-equal for the same picture at another size.
    """

    path: Path
    folder: str
    label: int
    key: bytes
    look: int


def evenly(photos: Sequence[Photo], count: int) -> Sequence[Photo]:
    """Returns at most so many of the photos, evenly chosen, so that every class has its share."""
    return photos[:: max(1, -(-len(photos) // count))]


def content_key(data: bytes, salt: bytes = b"") -> bytes:
    """Returns a digest of content, KEY_BYTES long; a salt (at most 16 bytes) gives another one."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES, salt=salt).digest()


def read_looks(paths: Sequence[Path], cache: Path, workers: int) -> list[tuple[bytes, int] | str]:
    """Returns for each photo its key and difference hash, or why it cannot be read; cached by content."""
    with RecordStore[np.uint64](cache / "looks", np.uint64, ()) as store, ThreadPoolExecutor(workers) as pool:

        def look(path: Path) -> tuple[bytes, int | None] | str:
            try:
                data = path.read_bytes()
                key = content_key(data)
                return key, None if key in store else _difference_hash(data)
            except OSError as error:
                return error.strerror or str(error)
            except ImageError as error:
                return str(error)

        found: list[tuple[bytes, int] | str] = []
        with progress("Reading photos", len(paths)) as advance:
            # In blocks, so that what was found out is kept when the run is stopped.
            for start in range(0, len(paths), 256):
                for one in pool.map(look, paths[start : start + 256]):
                    if isinstance(one, str):
                        found.append(one)
                    else:
                        key, computed = one
                        if computed is not None:
                            store.add([key], np.array([computed], np.uint64))
                        found.append((key, int(store.rows([key])[0])))
                    advance()
    return found


def _difference_hash(data: bytes) -> int:
    """Returns 64 bits: is each pixel of a 9x8 grey copy brighter than its left neighbour (Krawetz 2013, dHash)."""
    grey = decode_image(data, Target(8, 9, "squash")).astype(np.int32).sum(axis=2)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())
