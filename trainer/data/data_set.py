"""Folder data sets: which photos there are, of what class, in which split, and what is wrong with them."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.duplicates import find_twins
from trainer.data.folders import SPLITS, Split, label_of, list_data_set
from trainer.data.photos import Photo, content_key, read_looks
from trainer.errors import TrainerError

FEW_PHOTOS = 10
"""A class with fewer training photos than this is named in the report: its figures mean little."""


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

    def counts(self) -> dict[Split, dict[str, int]]:
        """Returns the number of photos per split and label."""
        return {
            split: {
                label: sum(photo.label == at for photo in self.photos[split]) for at, label in enumerate(self.labels)
            }
            for split in SPLITS
            if self.photos[split]
        }


def open_folder(
    data: Path,
    cache: Path,
    *,
    valid_share: float,
    test_share: float,
    seed: int,
    workers: int,
    limit: int = 0,
) -> DataSet:
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
        limit: At most so many files of each class folder are looked at; 0: all.

    Raises:
        TrainerError: There are not two classes with photos, or a class has no readable photo to train on.
    """
    found = list_data_set(data, limit)
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
    for (split, folder, path), look in zip(
        found, read_looks([path for *_, path in found], cache, workers), strict=True
    ):
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
        twins = find_twins(result.photos[split], kept)
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
