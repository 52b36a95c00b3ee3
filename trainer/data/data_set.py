"""Data sets in folders: photos with their class and split, and problems with them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.class_names import Numbers, class_labels, folded
from trainer.data.duplicates import Duplicates, Pictures
from trainer.data.folders import list_data_set
from trainer.data.multi_label import limited, merged, strata, warnings
from trainer.data.photos import Photo, content_key, read_looks
from trainer.data.splits import SPLITS, Split
from trainer.errors import TrainerError

FEW_PHOTOS = 10
"""Number of training photos below which a class is mentioned as a warning; its metrics mean little."""


@dataclass
class DataSet:
    """The photos of a folder by split, and a line for each problem.

    `added` are those of the training photos that do not come from the folder; see `added_photos`.
    """

    labels: tuple[str, ...]
    photos: dict[Split, list[Photo]]
    unreadable: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    added: list[Photo] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of labels, photo contents and splits. File names do not matter."""
        digest = hashlib.blake2b(repr(self.labels).encode(), digest_size=8)
        for split in SPLITS:
            for photo in sorted(self.photos[split], key=lambda one: (one.labels, one.key)):
                digest.update(split.encode() + b"".join(at.to_bytes(4) for at in photo.labels) + photo.key)
        return digest.hexdigest()

    def label_names(self, photo: Photo) -> str:
        """Returns the labels of a photo for people."""
        return " and ".join(repr(self.labels[at]) for at in photo.labels) or "no class"

    def targets(self, split: Split) -> NDArray[np.bool_]:
        """Returns which labels each photo of a split has, bool (photos, labels)."""
        rows = np.zeros((len(self.photos[split]), len(self.labels)), bool)
        for row, photo in zip(rows, self.photos[split], strict=True):
            row[list(photo.labels)] = True
        return rows

    def counts(self) -> dict[Split, dict[str, int]]:
        """Returns the number of photos per split and label."""
        return {
            split: {
                label: sum(at in photo.labels for photo in self.photos[split]) for at, label in enumerate(self.labels)
            }
            for split in SPLITS
            if self.photos[split]
        }


@dataclass
class Contents:
    """What is in a folder of photos, before anything is split or left out.

    `photos` are (split, photo); the split is None if the folder has no splits. `unreadable` are (path, label, reason).
    """

    labels: tuple[str, ...]
    photos: list[tuple[Split | None, Photo]]
    unreadable: list[tuple[Path, str, str]]
    warnings: list[str]


def read_folder(
    data: Path,
    cache: Path,
    *,
    workers: int,
    limit: int = 0,
    class_numbers: Numbers = "auto",
    multi_label: bool = False,
) -> Contents:
    """Reads every photo of a data set; see `open_folder` for the arguments.

    Raises:
        TrainerError: There is no such folder, or there are not two classes with files in it.
    """
    # Of a photo with several labels, none may be missing: photos are limited when all labels of each are known.
    listing = list_data_set(data, 0 if multi_label else limit, multi_label=multi_label)
    names = sorted({folder for _, folder, _ in listing.files if folder})
    labels, warning = class_labels(names, class_numbers)
    contents = Contents(tuple(labels[name] for name in names), [], [], [*listing.warnings, *filter(None, [warning])])
    paths = list(dict.fromkeys(path for *_, path in listing.files))
    looks = dict(zip(paths, read_looks(paths, cache, workers), strict=True))
    at = {name: (index,) for index, name in enumerate(names)}
    for split, folder, path in listing.files:
        look = looks[path]
        if isinstance(look, str):
            contents.unreadable.append((path, labels.get(folder, ""), look))
        else:
            contents.photos.append((split, Photo(path, folder, at.get(folder, ()), *look)))
    if multi_label:
        contents.photos = list(limited(merged(contents.photos), limit))
        contents.warnings += warnings(contents.photos)
    return contents


def list_labels(
    data: Path, limit: int = 0, class_numbers: Numbers = "auto", *, multi_label: bool = False
) -> tuple[str, ...]:
    """Returns the labels of a data set as `open_folder` does, without a look at the photos.

    Raises:
        TrainerError: There is no such folder, or there are not two classes with files in it.
    """
    listing = list_data_set(data, limit, multi_label=multi_label)
    names = sorted({folder for _, folder, _ in listing.files if folder})
    labels, _ = class_labels(names, class_numbers)
    return tuple(labels[name] for name in names)


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
    multi_label: bool = False,
) -> DataSet:
    """Reads a data set from `data/{train,valid,test}/<class>/`, `data/<class>/` or a CSV file of labels.

    A data set without split folders is split by class. The split of a photo depends on the seed and its content, not on
    its name. Without a `valid` folder, photos for validation are taken from `train` in the same way. Photos that cannot
    be decoded are left out and listed. So are duplicates: in photos without a split, before they are split; in split
    folders, those that validation or test share with training.

    Args:
        data: The folder.
        cache: Folder for digests of photos, so that each is decoded only once.
        valid_share: Share of photos for validation, 0 to 1.
        test_share: Share of photos for test, 0 to 1; ignored if there are split folders.
        seed: Determines the split.
        workers: Number of threads that read and decode.
        limit: Maximum number of files of each class folder; 0: no limit.
        class_numbers: How to handle numbers in front of class folder names; see `class_labels`.
        duplicates: Which photos count as copies of others.
        multi_label: Whether a photo can have several labels or none. Then the same photo in several class folders has
            the labels of all of them.

    Raises:
        TrainerError: There are fewer than two classes, a class has no readable photo for training, or there is none for
            validation.
    """
    contents = read_folder(
        data, cache, workers=workers, limit=limit, class_numbers=class_numbers, multi_label=multi_label
    )
    result = DataSet(contents.labels, {split: [] for split in SPLITS}, warnings=contents.warnings)
    result.unreadable += [f"{path}: {reason}" for path, _, reason in contents.unreadable]
    unsplit: list[Photo] = []
    for split, photo in contents.photos:
        (result.photos[split] if split else unsplit).append(photo)
    if not unsplit and not result.photos["valid"]:
        unsplit, result.photos["train"] = result.photos["train"], []
        test_share = 0.0
    # Before the split: afterwards, a class could lose all photos that it has for validation.
    unsplit = without_duplicates(result, unsplit, [], duplicates, inside=True)
    kept: list[Photo] = []
    for split in SPLITS:
        result.photos[split] = without_duplicates(result, result.photos[split], kept, duplicates)
        kept += result.photos[split]
    _divide(result, unsplit, {"valid": valid_share, "test": test_share}, seed)
    _check_classes(result, data)
    return result


def _divide(result: DataSet, photos: Sequence[Photo], shares: dict[Split, float], seed: int) -> None:
    salt = seed.to_bytes(8, signed=True)
    stratum = strata(photos)
    for number in range(-1, len(result.labels)):
        mine = [photo for photo, one in zip(photos, stratum, strict=True) if one == number]
        total = len(mine)
        # Equal photos have equal digests, so they stay together unless a border is between them.
        mine.sort(key=lambda photo: (content_key(photo.key, salt), photo.path))
        for split, share in shares.items():
            count = round(share * total)
            result.photos[split] += mine[:count]
            mine = mine[count:]
        result.photos["train"] += mine


def without_duplicates(
    result: DataSet, photos: Sequence[Photo], kept: Sequence[Photo], duplicates: Duplicates, *, inside: bool = False
) -> list[Photo]:
    """Returns the photos without duplicates of each other and of `kept`.

    Photos without a common label that only look alike are kept, with a warning: the difference may be what matters.

    Args:
        result: What is left out, and what looks odd, is added to its lists.
        photos: Of one split, or all that are to be split.
        kept: Photos of the splits before.
        duplicates: Which photos count as copies.
        inside: Compare the look of the photos with each other, too; without it, their content alone.
    """
    if duplicates == "off":
        return list(photos)
    pictures = Pictures(kept)
    inside_seen: dict[bytes, Photo] = {}
    remaining = []
    for photo in photos:
        twin = pictures.twin(photo, near=duplicates == "near") or inside_seen.get(photo.key)
        if twin is not None:
            labels, twin_labels = result.label_names(photo), result.label_names(twin)
            if labels == twin_labels or twin.key == photo.key or set(photo.labels) & set(twin.labels):
                result.duplicates.append(f"{photo.path} is a duplicate of {twin.path}; left out")
                if labels != twin_labels:
                    result.warnings.append(f"{photo.path} is in {labels} and, as {twin.path}, in {twin_labels}")
                continue
            result.warnings.append(
                f"{photo.path} in {labels} and {twin.path} in {twin_labels} look alike; both are kept"
            )
        inside_seen[photo.key] = photo
        remaining.append(photo)
        if inside:
            pictures.add(photo)
    return remaining


def _check_classes(result: DataSet, data: Path) -> None:
    numbers: dict[Split, dict[int, int]] = {split: defaultdict(int) for split in SPLITS}
    for split, photos in result.photos.items():
        for photo in photos:
            for at in photo.labels:
                numbers[split][at] += 1
    for at, label in enumerate(result.labels):
        if not numbers["train"][at]:
            copies = [line for line in result.duplicates if f"{os.sep}{label}{os.sep}" in line]
            broken = [line for line in result.unreadable if f"{os.sep}{label}{os.sep}" in line]
            why = f", {len(copies)} of its photos are copies of others: {copies[0]}" if copies else ""
            why += f", {len(broken)} of its files cannot be read: {broken[0]}" if broken else ""
            held_out = [split for split in SPLITS if numbers[split][at]]
            why += f", only some in {' and '.join(held_out)}" if held_out else ""
            trained = [one for number, one in enumerate(result.labels) if numbers["train"][number]]
            alike = [one for one in trained if folded(one) == folded(label)]
            why += f"; if it is the same class as {alike[0]!r}, give both folders one name" if alike else ""
            raise TrainerError(
                f"{data}: class {label!r} has no readable photo to train on{why}; breed check {data} lists all problems"
            )
        if numbers["train"][at] < FEW_PHOTOS:
            result.warnings.append(f"class {label!r} has only {numbers['train'][at]} photos to train on")
        if numbers["train"][at] == len(result.photos["train"]):
            result.warnings.append(f"all training photos are in {label!r}, so nothing can be learned about it")
        if not numbers["valid"][at]:
            result.warnings.append(f"class {label!r} has no photo to validate on")
    if not result.photos["valid"] and result.duplicates:
        raise TrainerError(
            f"{data}: no photo is left for validation; {len(result.duplicates)} are copies of others or look like "
            f"them; for example, {result.duplicates[0]}. If the photos are series, such as frames of a video, put "
            "other series into a valid folder. --duplicates exact removes only exact copies, --duplicates off removes "
            "none"
        )
    if not result.photos["valid"]:
        raise TrainerError(f"{data}: too few photos for validation; add photos or increase --valid-share")
