"""The commands `list` and `prune`: show published versions, and delete old ones."""

import argparse
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from trainer.console import say
from trainer.errors import TrainerError
from trainer.options import add_models_dir
from trainer.registry import server_config
from trainer.registry.publish import DRAFT_PREFIX, check_name, is_name, published_versions

ABANDONED_DRAFT_SECONDS = 24 * 3600.0
"""Age of a draft after which its run must have been killed; no export takes a day."""


def model_names(models_dir: Path) -> list[str]:
    """Returns the names of the models that have a published version, sorted.

    Raises:
        TrainerError: The directory does not exist.
    """
    if not models_dir.is_dir():
        raise TrainerError(f"the directory {models_dir} does not exist")
    names = (entry.name for entry in models_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    # There may be other directories, such as the lost+found of a volume.
    return sorted(name for name in names if is_name(name) and _has_version(models_dir / name))


def _has_version(directory: Path) -> bool:
    # Model servers read "007" as version 7.
    return any(entry.is_dir() and re.fullmatch(r"[0-9]+", entry.name) for entry in directory.iterdir())


def prune(models_dir: Path, name: str, *, keep: int, config: Path) -> list[int]:
    """Deletes old versions of a model, and drafts of killed runs.

    Keeps the newest `keep` versions, and every version that a label, the previous version of a label, or the version
    policy refers to. The configuration is locked, so that no label can move to a version that is being deleted.

    Returns:
        The deleted versions, in ascending order.

    Raises:
        TrainerError: `keep` is less than 1, the model has no version, or the configuration does not exist.
    """
    if keep < 1:
        raise TrainerError("--keep must be at least 1")
    if not config.is_file():
        raise TrainerError(f"{config} does not exist, so the labelled versions are unknown; use --config FILE")
    if not published_versions(models_dir, name):
        raise TrainerError(f"{models_dir} has no version of {name}")
    with server_config.edit(config) as current:
        entry = server_config.find(current, name)
        in_use = {*entry.version_labels.values(), *entry.model_version_policy.specific.versions} if entry else set()
        removed = [version for version in published_versions(models_dir, name)[:-keep] if version not in in_use]
        for version in removed:
            _remove(models_dir / name / str(version))
        for draft in (models_dir / name).glob(f"{DRAFT_PREFIX}*"):
            with suppress(FileNotFoundError):  # it was published or deleted meanwhile
                if time.time() - draft.stat().st_mtime > ABANDONED_DRAFT_SECONDS:
                    shutil.rmtree(draft, ignore_errors=True)
    return removed


def _remove(directory: Path) -> None:
    # Rename it first, so that a server never sees an incomplete version.
    hidden = directory.with_name(f"{DRAFT_PREFIX}{secrets.token_hex(6)}")
    directory.rename(hidden)
    shutil.rmtree(hidden)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `list`."""
    _add_shared_arguments(parser)


def add_prune_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prune`."""
    parser.add_argument("name", metavar="NAME", help="name of the model, for example dog_breed")
    parser.add_argument(
        "--keep", type=int, default=3, metavar="N", help="number of newest versions to keep (default: 3)"
    )
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
        say(f"{args.models_dir} has no published model")
    for name in names:
        entry = server_config.find(config, name)
        labels = dict(entry.version_labels) if entry else {}
        if entry is None:
            say(f"{name}: not in {path}; `promote` adds it")
        for version in published_versions(args.models_dir, name):
            directory = args.models_dir / name / str(version)
            try:
                size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
                date = time.strftime("%Y-%m-%d %H:%M", time.localtime(directory.stat().st_mtime))
            except FileNotFoundError:  # it was deleted meanwhile
                continue
            version_labels = ", ".join(sorted(label for label, labelled in labels.items() if labelled == version))
            say(f"{name}  {version:>4}  {date}  {size / 1e6:8.1f} MB  {version_labels}".rstrip())
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Deletes old versions without a label."""
    removed = prune(args.models_dir, check_name(args.name), keep=args.keep, config=server_config.config_path(args))
    left = ", ".join(map(str, published_versions(args.models_dir, args.name)))
    gone = ", ".join(map(str, removed)) or "none"
    say(f"{args.name}: deleted {gone}; kept {left}")
    return 0
