"""`list` and `prune`: what is published, which version each label names, and how old versions go."""

import argparse
import re
import secrets
import shutil
import time
from pathlib import Path

from trainer.console import say
from trainer.errors import TrainerError
from trainer.registry import server_config
from trainer.registry.publish import DRAFT_PREFIX, add_models_dir, check_name, is_name, published_versions

ABANDONED_DRAFT_SECONDS = 24 * 3600.0
"""A draft this old was left by a run that was killed; no export takes a day."""


def model_names(models_dir: Path) -> list[str]:
    """Returns the names of the models that have a published version, sorted.

    Raises:
        TrainerError: The directory is not there.
    """
    if not models_dir.is_dir():
        raise TrainerError(f"there is no directory {models_dir}")
    names = (entry.name for entry in models_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    # Others may lie there too, such as the lost+found of a volume.
    return sorted(name for name in names if is_name(name) and _has_version(models_dir / name))


def misplaced_models(models_dir: Path) -> list[str]:
    """Returns a sentence for each folder of models that holds a SavedModel where a server does not look for it."""
    flat = sorted(path.parent for path in models_dir.glob("*/saved_model.pb"))
    return [
        f"{folder} holds a SavedModel itself: move it into {folder / '1'}, a folder for its version" for folder in flat
    ]


def _has_version(directory: Path) -> bool:
    # Servers read "007" as version 7, though nothing here writes it so.
    return any(entry.is_dir() and re.fullmatch(r"[0-9]+", entry.name) for entry in directory.iterdir())


def prune(models_dir: Path, name: str, *, keep: int, config: Path) -> list[int]:
    """Removes old versions of a model, and drafts that killed runs left behind.

    The newest `keep` versions stay, and every version that a label or the version policy names, including those that
    labels would roll back to. The configuration is locked meanwhile, so that no label moves to a version that goes.

    Returns:
        The versions that were removed, in ascending order.

    Raises:
        TrainerError: `keep` is under 1, the model has no version, or there is no configuration to read labels from.
    """
    if keep < 1:
        raise TrainerError("at least 1 version is kept")
    if not config.is_file():
        raise TrainerError(f"there is no {config}, so it is not known which versions labels name; give --config FILE")
    if not published_versions(models_dir, name):
        raise TrainerError(f"{models_dir} has no version of {name}")
    with server_config.edit(config) as current:
        entry = server_config.find(current, name)
        named = {*entry.version_labels.values(), *entry.model_version_policy.specific.versions} if entry else set()
        removed = [version for version in published_versions(models_dir, name)[:-keep] if version not in named]
        for version in removed:
            _remove(models_dir / name / str(version))
    for draft in (models_dir / name).glob(f"{DRAFT_PREFIX}*"):
        if time.time() - draft.stat().st_mtime > ABANDONED_DRAFT_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)
    return removed


def _remove(directory: Path) -> None:
    # Renamed first: a server must not find half a version while the files go.
    hidden = directory.with_name(f"{DRAFT_PREFIX}{secrets.token_hex(6)}")
    directory.rename(hidden)
    shutil.rmtree(hidden)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `list`."""
    _add_shared_arguments(parser)


def add_prune_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prune`."""
    parser.add_argument("name", metavar="NAME", help="the model, such as dog_breed")
    parser.add_argument("--keep", type=int, default=3, metavar="N", help="how many newest versions stay (default: 3)")
    _add_shared_arguments(parser)


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    add_models_dir(parser)
    server_config.add_config(parser)


def run_list(args: argparse.Namespace) -> int:
    """Prints one line for each version: model, number, date, size, labels."""
    path = server_config.config_path(args)
    config = server_config.read(path)
    names = model_names(args.models_dir)
    if not names:
        say(f"no model is published in {args.models_dir}")
    for name in names:
        entry = server_config.find(config, name)
        labels = dict(entry.version_labels) if entry else {}
        if entry is None:
            say(f"{name}: not in {path}; `promote` puts it there")
        for version in published_versions(args.models_dir, name):
            directory = args.models_dir / name / str(version)
            size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(directory.stat().st_mtime))
            named = ", ".join(sorted(label for label, labelled in labels.items() if labelled == version))
            say(f"{name}  {version:>4}  {date}  {size / 1e6:8.1f} MB  {named}".rstrip())
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Removes old versions that no label names."""
    removed = prune(args.models_dir, check_name(args.name), keep=args.keep, config=server_config.config_path(args))
    left = ", ".join(map(str, published_versions(args.models_dir, args.name)))
    gone = ", ".join(map(str, removed)) or "none"
    say(f"{args.name}: removed {gone}; left {left}")
    return 0
