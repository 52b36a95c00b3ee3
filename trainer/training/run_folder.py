"""The folder of a run, RUNS_DIR/NAME/ID: what is written there beside the results of the evaluation."""

import csv
import dataclasses
import hashlib
import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.check.labels import label_errors
from trainer.config import Config
from trainer.console import say
from trainer.data.data_set import DataSet
from trainer.data.photos import Photo
from trainer.data.splits import SPLITS
from trainer.evaluation import calibrate
from trainer.model_card import JSON
from trainer.network.backbone_names import content_of

if TYPE_CHECKING:
    from trainer.training.cross_validation import CrossValidation

LISTED = 10
"""Number of unreadable photos and of duplicates that are listed on the terminal; data.json has all of them."""


def run_folder(config: Config, data: DataSet, runs: Path) -> Path:
    """Returns the folder of this run. The same configuration with the same photos has the same folder.

    Settings that do not change the training do not count, so a stopped run can be resumed with another export.
    """
    trained = dataclasses.replace(
        config,
        data="",
        add=(),
        name="",
        description="",
        noun="",
        precision="float32",
        max_accuracy_loss=0.0,
        min_same_top1=0.0,
    )
    text = _settings_text(trained) + data.fingerprint + content_of(config.backbone)
    folder = runs / config.name / hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settings_text(config: Config) -> str:
    """The settings without newer ones that have their default, so that the folders of older runs stay the same."""
    return config.to_toml().replace('tta = "none"\n', "")


def report_data(data: DataSet, folder: Path) -> None:
    """Prints the number of photos and their problems, and writes them to data.json."""
    counted = ", ".join(f"{len(data.photos[split])} {split}" for split in SPLITS if data.photos[split])
    several_labels = sum(len(photo.labels) > 1 for split in SPLITS for photo in data.photos[split])
    labelled = f", {several_labels} of them with several labels" if several_labels else ""
    say(f"{len(data.labels)} classes; photos: {counted}{labelled}")
    if data.added:
        classes = sorted({data.labels[photo.label] for photo in data.added})
        say(f"{len(data.added)} of the training photos were added, of these classes: {', '.join(classes)}")
    for what, lines in (("unreadable, left out", data.unreadable), ("duplicates, left out", data.duplicates)):
        if lines:
            say(f"{len(lines)} {what}:")
            for line in lines[:LISTED]:
                say(f"  {line}")
            if len(lines) > LISTED:
                say(f"  and {len(lines) - LISTED} more: {folder / 'data.json'}")
    for line in data.warnings:
        say(f"warning: {line}")
    content = {"unreadable": data.unreadable, "duplicates": data.duplicates, "warnings": data.warnings}
    (folder / "data.json").write_text(json.dumps(content | {"photos": data.counts()}, indent=1), encoding="utf-8")


def report_labels(data: DataSet, cross_validation: "CrossValidation", folder: Path, name: str) -> None:
    """Reports training photos whose labels are probably wrong, and adds them to data.json.

    Args:
        data: The photos.
        cross_validation: Answers to training photos of heads that were trained without them.
        folder: The folder of the run.
        name: The folder of the photos, as the user names it.
    """
    temperature = calibrate.fit_temperature(cross_validation.logits, cross_validation.labels)
    probabilities = calibrate.softmax(cross_validation.logits, temperature)
    errors = label_errors(probabilities, cross_validation.labels)
    listed: list[dict[str, JSON]] = []
    added = {photo.path for photo in data.added}
    suspects: list[str] = []
    for error in errors:
        photo = data.photos["train"][cross_validation.tested[error.photo]]
        listed.append(
            {
                "photo": str(photo.path),
                "label": data.labels[photo.label],
                "suggested": data.labels[error.suggested],
                "score": round(error.score, 4),
                "given_score": round(error.given_score, 4),
            }
        )
        if photo.path in added:
            suspects.append(f"{photo.path}: {data.labels[photo.label]}, probably {data.labels[error.suggested]}")
    if here := len(listed) - len(suspects):
        say(f"{here} training photos may have a wrong label: breed check {shlex.quote(name)} shows them")
    if suspects:  # which are in other folders than the one that `check` reads
        say(f"{len(suspects)} photos of --add may have a wrong label:")
        for line in suspects[:LISTED]:
            say(f"  {line}")
        if len(suspects) > LISTED:
            say(f"  and {len(suspects) - LISTED} more, with the others in {folder / 'data.json'}")
    path = folder / "data.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"label_errors": listed}, indent=1), encoding="utf-8"
    )


def link_photos(photos: Sequence[Photo], folder: Path, labels: Sequence[str] | None = None) -> Path:
    """Creates a folder of links to photos, so that the evaluation reads only the photos of one split.

    Args:
        photos: The photos.
        folder: The folder. Its previous content is deleted.
        labels: Labels of a multi-label data set, for which a CSV file is written; None for folders by class.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if labels is not None:
        folder.mkdir(parents=True)
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "label"])
            for number, photo in enumerate(photos):
                link = folder / f"{number}-{photo.path.name}"
                link.symlink_to(photo.path.resolve())
                table.writerow([link.name, *(labels[at] for at in photo.labels)])
        return folder
    for number, photo in enumerate(photos):
        link = folder / photo.folder.replace("/", "_") / f"{number}-{photo.path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())
    return folder


def forget(state: Path) -> None:
    """Deletes the state of a run. It is renamed first, so that a partly deleted state is never used."""
    if not state.exists():  # nothing was fitted in steps
        return
    old = state.with_name(f"{state.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    state.rename(old)
    shutil.rmtree(old)
