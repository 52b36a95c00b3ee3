"""Folder data sets: which photos there are, of what class, in which split, and what is wrong with them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.class_names import Numbers, class_labels
from trainer.data.duplicates import Duplicates, find_twins
from trainer.data.folders import SPLITS, Split, list_data_set
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
    class_numbers: Numbers = "auto",
    duplicates: Duplicates = "near",
) -> DataSet:
    """Reads a data set from `data/{train,valid,test}/<class>/`, `data/<class>/` or a CSV file of labels.

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
        class_numbers: What becomes of numbers in front of the names of class folders: see `class_labels`.
        duplicates: Which photos count as copies of others.

    Raises:
        TrainerError: There are not two classes with photos, a class has no readable photo to train on, or none is left
            to validate on.
    """
    listing = list_data_set(data, limit)
    found = listing.files
    names = sorted({folder for _, folder, _ in found})
    labels, said = class_labels(names, class_numbers)
    result = DataSet(tuple(labels[name] for name in names), {split: [] for split in SPLITS})
    result.warnings += listing.warnings + ([said] if said else [])
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
    to_validate = len(result.photos["valid"])
    if duplicates != "off":
        _drop_duplicates(result, duplicates)
    _check_classes(result, data, to_validate)
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


def _drop_duplicates(result: DataSet, duplicates: Duplicates) -> None:
    """Takes out of validation what training has, and out of test what either has; repeats within a split as well.

    Photos that only look alike and are in different classes are kept and named: the difference may be what counts.
    """
    kept: list[Photo] = []
    for split in SPLITS:
        twins = find_twins(result.photos[split], kept, near=duplicates == "near")
        seen: dict[bytes, Photo] = {}
        remaining = []
        for photo in result.photos[split]:
            twin = twins.get(photo.path) or seen.get(photo.key)
            if twin is None:
                seen[photo.key] = photo
                remaining.append(photo)
                continue
            if twin.label != photo.label and twin.key != photo.key:
                one, other = result.labels[photo.label], result.labels[twin.label]
                result.warnings.append(
                    f"{photo.path} in {one!r} and {twin.path} in {other!r} look alike; both are kept"
                )
                seen[photo.key] = photo
                remaining.append(photo)
                continue
            result.duplicates.append(f"{photo.path} is the same picture as {twin.path}; left out")
            if twin.label != photo.label:
                one, other = result.labels[photo.label], result.labels[twin.label]
                result.warnings.append(f"{photo.path} is in {one!r} and, as {twin.path}, in {other!r}")
        result.photos[split] = remaining
        kept += remaining


def _check_classes(result: DataSet, data: Path, to_validate: int) -> None:
    numbers: dict[Split, dict[int, int]] = {split: defaultdict(int) for split in SPLITS}
    for split, photos in result.photos.items():
        for photo in photos:
            numbers[split][photo.label] += 1
    for at, label in enumerate(result.labels):
        if not numbers["train"][at]:
            copies = [line for line in result.duplicates if f"{os.sep}{label}{os.sep}" in line]
            broken = [line for line in result.unreadable if f"{os.sep}{label}{os.sep}" in line]
            why = f", {len(copies)} of its photos are copies of others: {copies[0]}" if copies else ""
            why += f", {len(broken)} of its files cannot be read: {broken[0]}" if broken else ""
            raise TrainerError(f"{data}: class {label!r} has no readable photo to train on{why}")
        if numbers["train"][at] < FEW_PHOTOS:
            result.warnings.append(f"class {label!r} has only {numbers['train'][at]} photos to train on")
        if not numbers["valid"][at]:
            result.warnings.append(f"class {label!r} has no photo to validate on")
    if not result.photos["valid"] and to_validate:
        raise TrainerError(
            f"{data}: all {to_validate} photos for validation are copies of photos for training or look like them, so "
            f"none is left: {result.duplicates[0]}. Where photos come in series, such as frames of one video, give a "
            "valid folder with other series; --duplicates exact leaves out copies only, --duplicates off none"
        )
    if not result.photos["valid"]:
        raise TrainerError(f"{data}: there are too few photos to keep some for validation; add photos or --valid-share")
