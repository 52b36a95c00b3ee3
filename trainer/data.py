"""Folder data sets: which photos there are, of what class, in which split, and what is wrong with them."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

from gateway.images import ImageError, Target, decode_image
from trainer.console import progress
from trainer.errors import TrainerError
from trainer.records import KEY_BYTES, RecordStore

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
SPLIT_FOLDERS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

FEW_PHOTOS = 10
"""A class with fewer training photos than this is named in the report: its figures mean little."""

HASH_BITS_APART = 6
"""Of the 64 bits of a difference hash, how many may differ for two photos to be compared pixel by pixel."""

SAME_PICTURE = 6.0
"""Mean difference of two 32x32 copies (0 to 255) under which photos are the same picture at two sizes or qualities."""

_NUMBERED = re.compile(r"(?:\d+[._\- ]+|n\d{8}-)(?=\S)")


def label_of(folder: str) -> str:
    """Returns the label of a class folder: its name, without the number that some data sets put in front.

    `001.Affenpinscher` is `Affenpinscher`, `n02085620-Chihuahua` is `Chihuahua`, `saint_bernard` stays as it is.
    """
    return _NUMBERED.sub("", folder, count=1) if _NUMBERED.match(folder) else folder


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


@dataclass
class DataSet:
    """The photos of a folder by split, with everything that was found wrong, one line each."""

    labels: tuple[str, ...]
    photos: dict[Split, list[Photo]]
    unreadable: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """A digest of labels, contents and splits, hexadecimal: the same photos give the same, wherever they lie."""
        digest = hashlib.blake2b(repr(self.labels).encode(), digest_size=8)
        for split in SPLITS:
            for photo in sorted(self.photos[split], key=lambda one: (one.label, one.key)):
                digest.update(split.encode() + photo.label.to_bytes(4) + photo.key)
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of photos per split and label."""
        return {
            split: {
                label: sum(photo.label == at for photo in self.photos[split]) for at, label in enumerate(self.labels)
            }
            for split in SPLITS
            if self.photos[split]
        }


def open_folder(data: Path, cache: Path, *, valid_share: float, test_share: float, seed: int, workers: int) -> DataSet:
    """Reads a data set from `data/{train,valid,test}/<class>/` or `data/<class>/`.

    The latter is split class by class; a photo's place follows from the seed and its content, not from its name.
    Without a `valid` folder, validation photos are taken from `train` in the same way. Photos that cannot be decoded
    are left out and listed, and so are copies that validation and test share with training.

    Args:
        data: The folder.
        cache: A folder for what is found out about photos, so that they are decoded once.
        valid_share: Of the photos to be split, those for validation, 0 to 1.
        test_share: Those for test, 0 to 1; nothing is taken for it when there are split folders.
        seed: Decides the split.
        workers: Threads that read and decode.

    Raises:
        TrainerError: There are not two classes with photos, or a class has no readable photo to train on.
    """
    found = _listed(data)
    names = sorted({folder for _, folder, _ in found})
    labels = tuple(label_of(name) for name in names)
    if len(names) < 2:
        raise TrainerError(
            f"{data} has {len(names)} class folders with files in them; at least 2 are needed, "
            "as DATA/<class>/ or DATA/{train,valid,test}/<class>/"
        )
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise TrainerError(f"{data}: two class folders are both called {twice!r} once their numbers are taken off")
    result = DataSet(labels, {split: [] for split in SPLITS})
    unsplit: list[Photo] = []
    for (split, folder, path), look in zip(found, _looks([path for *_, path in found], cache, workers), strict=True):
        if isinstance(look, str):
            result.unreadable.append(f"{path}: {look}")
        else:
            photo = Photo(path, folder, names.index(folder), *look)
            (result.photos[split] if split else unsplit).append(photo)
    if unsplit:
        _divide(result, unsplit, {"valid": valid_share, "test": test_share}, seed)
    elif not result.photos["valid"]:
        everything, result.photos["train"] = result.photos["train"], []
        _divide(result, everything, {"valid": valid_share, "test": 0.0}, seed)
    _drop_duplicates(result)
    _check_classes(result, data)
    return result


def _listed(data: Path) -> list[tuple[Split | None, str, Path]]:
    """Every file of the data set as (split, class folder, path), in a fixed order."""
    if not data.is_dir():
        raise TrainerError(f"{data} is not a folder: give one with photos in DATA/<class>/ or DATA/train/<class>/")
    folders = _folders(data)
    splits = [(SPLIT_FOLDERS[one.name.lower()], one) for one in folders if one.name.lower() in SPLIT_FOLDERS]
    classes: list[tuple[Split | None, Path]]
    if "train" in {split for split, _ in splits}:
        classes = [(split, one) for split, folder in splits for one in _folders(folder)]
    else:
        classes = [(None, one) for one in folders]
    return [
        (split, folder.name, path)
        for split, folder in classes
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def content_key(data: bytes, salt: bytes = b"") -> bytes:
    """Returns a digest of content, KEY_BYTES long; a salt (at most 16 bytes) gives another one."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES, salt=salt).digest()


def _looks(paths: Sequence[Path], cache: Path, workers: int) -> Iterable[tuple[bytes, int] | str]:
    """For each photo its key and difference hash, or why it cannot be read; cached by content."""
    with RecordStore[np.uint64](cache / "looks", np.uint64, ()) as store, ThreadPoolExecutor(workers) as pool:

        def look(path: Path) -> tuple[bytes, int | None] | str:
            try:
                data = path.read_bytes()
                key = content_key(data)
                return key, None if key in store else _difference_hash(data)
            except (OSError, ImageError) as error:
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


def _divide(result: DataSet, photos: Sequence[Photo], shares: dict[Split, float], seed: int) -> None:
    salt = seed.to_bytes(8, signed=True)
    for label in range(len(result.labels)):
        mine = [photo for photo in photos if photo.label == label]
        # Equal contents have equal digests and so stay together, but for the two at a border.
        mine.sort(key=lambda photo: (content_key(photo.key, salt), photo.path))
        for split, share in shares.items():
            count = round(share * len([photo for photo in photos if photo.label == label]))
            result.photos[split] += mine[:count]
            mine = mine[count:]
        result.photos["train"] += mine


def _drop_duplicates(result: DataSet) -> None:
    """Takes out of validation what training has, and out of test what either has; repeats within a split as well."""
    kept: list[Photo] = []
    for split in SPLITS:
        twins = _twins(result.photos[split], kept)
        seen: dict[bytes, Photo] = {}
        remaining = []
        for photo in result.photos[split]:
            twin = twins.get(photo.path) or seen.get(photo.key)
            if twin is None:
                seen[photo.key] = photo
                remaining.append(photo)
                continue
            result.duplicates.append(f"{photo.path} is the same picture as {twin.path}; left out")
            if twin.label != photo.label:
                one, other = result.labels[photo.label], result.labels[twin.label]
                result.warnings.append(f"{photo.path} is in {one!r} and, as {twin.path}, in {other!r}")
        result.photos[split] = remaining
        kept += remaining


def _twins(photos: Sequence[Photo], others: Sequence[Photo]) -> dict[Path, Photo]:
    """For each photo that is the same picture as one of the others: that one."""
    if not photos or not others:
        return {}
    by_key = {photo.key: photo for photo in others}
    looks = np.array([photo.look for photo in others], np.uint64)
    twins: dict[Path, Photo] = {}
    for photo in photos:
        if photo.key in by_key:
            twins[photo.path] = by_key[photo.key]
            continue
        near = np.flatnonzero(np.bitwise_count(looks ^ np.uint64(photo.look)) <= HASH_BITS_APART)
        for at in near[:20]:
            if _same_picture(photo.path, others[at].path):
                twins[photo.path] = others[at]
                break
    return twins


def _same_picture(one: Path, other: Path) -> bool:
    small = Target(32, 32, "squash")
    pair = [decode_image(path.read_bytes(), small).astype(np.float32) for path in (one, other)]
    return float(np.abs(pair[0] - pair[1]).mean()) < SAME_PICTURE


def _check_classes(result: DataSet, data: Path) -> None:
    numbers: dict[Split, dict[int, int]] = {split: defaultdict(int) for split in SPLITS}
    for split, photos in result.photos.items():
        for photo in photos:
            numbers[split][photo.label] += 1
    for at, label in enumerate(result.labels):
        if not numbers["train"][at]:
            raise TrainerError(f"{data}: class {label!r} has no readable photo to train on")
        if numbers["train"][at] < FEW_PHOTOS:
            result.warnings.append(f"class {label!r} has only {numbers['train'][at]} photos to train on")
        if not numbers["valid"][at]:
            result.warnings.append(f"class {label!r} has no photo to validate on")
    if not result.photos["valid"]:
        raise TrainerError(f"{data}: there are too few photos to keep some for validation; add photos or --valid-share")
