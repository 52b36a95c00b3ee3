"""Photos as callers have them, and the requests that carry them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

Photo = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or an open binary file."""

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".heic", ".heif", ".hif"})
"""Extensions of the files that `photos_in` finds, in lower case."""

MAX_BATCH_BYTES = 64 * 2**20
"""Most bytes in a batch of a folder, half of what a gateway accepts by default."""


def content_of(photo: Photo) -> bytes:
    """The bytes of a photo.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    return photo.read()


def photos_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The photos in a folder and its subfolders, sorted by path; hidden files are left out."""
    return sorted(
        path
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Paths in groups of at most `size` files and, if there is more than one, `MAX_BATCH_BYTES`."""
    batch: list[Path] = []
    held = 0
    for path in paths:
        count = path.stat().st_size
        if batch and (len(batch) == size or held + count > MAX_BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(path)
        held += count
    if batch:
        yield batch


@dataclass(frozen=True)
class Call:
    """A request that can be sent several times."""

    method: str
    path: str
    parameters: dict[str, str | int] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None


def classify_call(
    photo: Photo, model: str | None, top_k: int | None, version: int | None, version_label: str | None
) -> Call:
    """The request for one photo."""
    path = f"/api/v1/models/{quote(model, safe='')}/predict" if model is not None else "/api/v1/predict_breed"
    return Call("POST", path, _parameters(top_k, version, version_label), content=content_of(photo))


def batch_call(
    photos: Sequence[Photo], model: str | None, top_k: int | None, version: int | None, version_label: str | None
) -> Call:
    """The request for several photos."""
    path = (
        f"/api/v1/models/{quote(model, safe='')}/predict_batch" if model is not None else "/api/v1/predict_breed/batch"
    )
    files = [("images", (f"photo-{index}", content_of(photo))) for index, photo in enumerate(photos)]
    return Call("POST", path, _parameters(top_k, version, version_label), files=files)


def _parameters(top_k: int | None, version: int | None, version_label: str | None) -> dict[str, str | int]:
    given: dict[str, str | int | None] = {"top_k": top_k, "version": version, "version_label": version_label}
    return {name: value for name, value in given.items() if value is not None}
