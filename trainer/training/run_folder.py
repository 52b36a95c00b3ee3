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
from trainer.data.folders import SPLITS
from trainer.data.photos import Photo
from trainer.evaluation import calibrate
from trainer.model_card import JSON

if TYPE_CHECKING:
    from trainer.training.cross_validation import CrossValidation

LISTED = 10
"""Of unreadable photos and duplicates, how many are named on the terminal; the run's folder has them all."""


def run_folder(config: Config, data: DataSet, runs: Path) -> Path:
    """Returns the folder of this run: the same configuration on the same photos finds its own again.

    Left out is what does not change the training, so that another export of a run that was stopped goes on from there.
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
    text = trained.to_toml() + data.fingerprint
    folder = runs / config.name / hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report_data(data: DataSet, folder: Path) -> None:
    """Says what was found in the photos, and writes it to data.json."""
    counted = ", ".join(f"{len(data.photos[split])} {split}" for split in SPLITS if data.photos[split])
    several = sum(len(photo.labels) > 1 for split in SPLITS for photo in data.photos[split])
    labelled = f", {several} of them with several labels" if several else ""
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
    found = {"unreadable": data.unreadable, "duplicates": data.duplicates, "warnings": data.warnings}
    (folder / "data.json").write_text(json.dumps(found | {"photos": data.counts()}, indent=1), encoding="utf-8")


def report_labels(data: DataSet, found: "CrossValidation", folder: Path, name: str) -> None:
    """Reports training photos whose labels are probably wrong, and adds them to data.json.

    Args:
        data: The photos.
        found: What heads said of training photos that they were not fitted on.
        folder: The folder of the run.
        name: The folder of the photos, as the user names it.
    """
    probabilities = calibrate.softmax(found.logits, calibrate.fit_temperature(found.logits, found.labels))
    errors = label_errors(probabilities, found.labels)
    listed: list[dict[str, JSON]] = []
    added = {photo.path for photo in data.added}
    suspects: list[str] = []
    for one in errors:
        photo = data.photos["train"][found.tested[one.photo]]
        listed.append(
            {
                "photo": str(photo.path),
                "label": data.labels[photo.label],
                "suggested": data.labels[one.suggested],
                "score": round(one.score, 4),
                "given_score": round(one.given_score, 4),
            }
        )
        if photo.path in added:
            suspects.append(f"{photo.path}: {data.labels[photo.label]}, probably {data.labels[one.suggested]}")
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
    """Makes a folder of links to photos, so that the evaluation sees those of one split and no others.

    Args:
        photos: The photos.
        folder: The folder; what is in it is deleted.
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
    """Deletes what a run goes on from, first of all under this name: half of it would be taken for a whole."""
    if not state.exists():  # nothing was fitted in steps
        return
    old = state.with_name(f"{state.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    state.rename(old)
    shutil.rmtree(old)
