"""Read the photos of a data set, and compute their digests."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from gateway.images import ImageError, Target, decode_image
from trainer.console import progress
from trainer.data.record_store import KEY_BYTES, RecordStore
from trainer.errors import TrainerError

Made = TypeVar("Made")
T = TypeVar("T")


@dataclass(frozen=True)
class Photo:
    """A readable photo: its path, class folder, labels (indexes into those of the data set) and digest.

    Only in a multi-label data set, a photo can have several labels or none; then they are in ascending order.
    `look` is a 64-bit difference hash, which is similar for the same picture at another size.
    """

    path: Path
    folder: str
    labels: tuple[int, ...]
    key: bytes
    look: int

    @property
    def label(self) -> int:
        """The only label, in a data set with one label for each photo."""
        [label] = self.labels
        return label


def evenly(photos: Sequence[T], count: int) -> Sequence[T]:
    """Returns at most `count` of the photos, evenly chosen, so that every class has its share."""
    return photos[:: max(1, -(-len(photos) // count))]


def content_key(data: bytes, salt: bytes = b"") -> bytes:
    """Returns a digest of KEY_BYTES bytes, which also depends on the salt (at most 16 bytes)."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES, salt=salt).digest()


def read_looks(paths: Sequence[Path], cache: Path, workers: int) -> list[tuple[bytes, int] | str]:
    """Returns the key and difference hash of each photo, or the reason why it cannot be read. Cached by content."""
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

        looks: list[tuple[bytes, int] | str] = []
        with progress("Reading photos", len(paths)) as advance:
            # In blocks, so that the results so far are cached if the run is stopped.
            for start in range(0, len(paths), 256):
                for result in pool.map(look, paths[start : start + 256]):
                    if isinstance(result, str):
                        looks.append(result)
                    else:
                        key, computed = result
                        if computed is not None:
                            store.add([key], np.array([computed], np.uint64))
                        looks.append((key, int(store.rows([key])[0])))
                    advance()
    return looks


def read_again(path: Path, decode: Callable[[bytes], Made]) -> Made:
    """Returns what a function makes of the content of a photo that could be read before.

    Raises:
        TrainerError: The photo was deleted or replaced since then.
    """
    try:
        return decode(path.read_bytes())
    except (OSError, ImageError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrainerError(
            f"{path} was readable at first and now is not ({reason}): was it deleted or replaced? Run the same command "
            "again; results so far are cached"
        ) from error


def _difference_hash(data: bytes) -> int:
    """Returns 64 bits: whether each pixel of a grey 9x8 copy is brighter than its left neighbour (dHash)."""
    grey = decode_image(data, Target(8, 9, "squash")).astype(np.int32).sum(axis=2)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())
