"""Add collected photos to the training photos of a data set.

They are for training only, so that the validation and test photos of a data set stay the same with and without them:

* Collected photos are those that a version was unsure of or wrong about. Among the validation photos, they would make
  every version look worse, the more of them the more people correct.
* The split of the data set is made before they are added, so no photo moves from validation to training.
* A copy of a validation or test photo is left out, whatever its label: a model that has learned it would look better.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.class_names import folded
from trainer.data.collect import read_manifest
from trainer.data.data_set import FEW_PHOTOS, DataSet, without_duplicates
from trainer.data.duplicates import Duplicates, Pictures
from trainer.data.folders import list_files
from trainer.data.photos import Photo, read_looks
from trainer.errors import TrainerError

SIMILAR_NAMES = 0.8
"""Similarity of two labels (difflib's ratio) from which a new label may be an old one with a typing error."""


@dataclass(frozen=True)
class Added:
    """Photos to add.

    Attributes:
        files: Label and path of each.
        new_labels: Those of the labels that the data set does not have, in alphabetical order.
        warnings: What looks odd, a sentence each.
    """

    files: Sequence[tuple[str, Path]] = ()
    new_labels: Sequence[str] = ()
    warnings: Sequence[str] = field(default_factory=tuple)


def list_added(folders: Sequence[Path], labels: Sequence[str]) -> Added:
    """Lists the files of folders that `collect` has written, or of other folders of photos by class.

    The label is that of the manifest, or else the name of the folder. Labels that differ from one of the data set only
    in case and punctuation are taken for it.

    Args:
        folders: Folders with a subfolder for each class; one class is enough.
        labels: Labels of the data set.

    Raises:
        TrainerError: A folder does not exist or has no files in subfolders.
    """
    spellings = {folded(label): label for label in labels}
    files: list[tuple[str, Path]] = []
    warnings: list[str] = []
    new: set[str] = set()
    for folder in folders:
        paths = [path for path in list_files(folder) if path.parent != folder]
        if not paths:
            raise TrainerError(f"{folder} has no photos in folders by class; `collect` writes OUT/<class>/<photo>")
        rows = read_manifest(folder)
        by_file = {row.file: row.label for row in rows}
        by_folder = {row.file.partition("/")[0]: row.label for row in rows}
        for path in paths:
            inside = path.relative_to(folder)
            name = by_file.get(inside.as_posix()) or by_folder.get(inside.parts[0], inside.parts[0])
            label = name if name in labels else spellings.setdefault(folded(name), name)
            if label not in labels:
                new.add(label)
            if label != name and f"{name!r} in {folder} is taken for {label!r}" not in warnings:
                warnings.append(f"{name!r} in {folder} is taken for {label!r}")
            files.append((label, path))
    for label in sorted(new):
        near = difflib.get_close_matches(folded(label), [folded(one) for one in labels], 1, SIMILAR_NAMES)
        if near:
            warnings.append(
                f"the new class {label!r} has nearly the name of {spellings[near[0]]!r}; is it another one?"
            )
    return Added(files, tuple(sorted(new)), tuple(warnings))


def add_photos(data: DataSet, added: Added, cache: Path, *, duplicates: Duplicates, workers: int) -> None:
    """Adds photos to the training photos of a data set, and their new labels to its labels.

    Copies of photos that the data set has are left out, and so are unreadable photos; both are listed in `data`.

    Args:
        data: The data set, which is changed.
        added: What to add.
        cache: Folder for digests of photos; see `open_folder`.
        duplicates: Which photos count as copies of others.
        workers: Number of threads that read and decode.

    Raises:
        TrainerError: A new class has no photo that can be used.
    """
    data.labels = (*data.labels, *added.new_labels)
    data.warnings += added.warnings
    place = {label: at for at, label in enumerate(data.labels)}
    held_out = Pictures(data.photos["valid"] + data.photos["test"])
    photos: list[Photo] = []
    for (label, path), look in zip(
        added.files, read_looks([path for _, path in added.files], cache, workers), strict=True
    ):
        if isinstance(look, str):
            data.unreadable.append(f"{path}: {look}")
            continue
        photo = Photo(path, label, (place[label],), *look)
        twin = None if duplicates == "off" else held_out.twin(photo, near=duplicates == "near")
        if twin is None:
            photos.append(photo)
            continue
        data.duplicates.append(f"{path} is a duplicate of {twin.path}, which is for validation or test; left out")
        if twin.label != photo.label:
            data.warnings.append(
                f"{path} in {label!r} is the same picture as {twin.path} in {data.labels[twin.label]!r}, which is for "
                "validation or test: is that label right?"
            )
    kept = without_duplicates(data, photos, data.photos["train"], duplicates, inside=True)
    data.photos["train"] = data.photos["train"] + kept
    data.added = kept
    for label in added.new_labels:
        count = sum(photo.label == place[label] for photo in kept)
        if 0 < count < FEW_PHOTOS:
            data.warnings.append(f"the new class {label!r} has only {count} photos to train on")
        if not count:
            raise TrainerError(
                f"the new class {label!r} has no photo to train on: all of them cannot be read or are copies of others"
            )
