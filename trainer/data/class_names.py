"""Which class of a model a folder of photos belongs to, however its name is spelled."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainer.data.folders import label_of
from trainer.errors import TrainerError
from trainer.network.imagenet_classes import OTHER_NAMES


def match_folders(folders: Iterable[str], labels: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Finds the label of each folder.

    A folder named in the mapping has the label that it says. Otherwise the name is compared as it is, then without
    regard to case, punctuation and a number in front: `001.Affenpinscher` is `affenpinscher`, `saint_bernard` is
    `Saint Bernard`. A breed goes by the name that ImageNet has for it, too: `japanese_spaniel` is `Japanese Chin`.

    Returns:
        For each folder the index of its label.

    Raises:
        TrainerError: Folders match no label, or more than one; all of them are named.
    """
    loose: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        loose.setdefault(_plain(label), []).append(index)
    found: dict[str, int] = {}
    strangers = []
    for folder in folders:
        wanted = mapping.get(folder, folder)
        candidates = [labels.index(wanted)] if wanted in labels else loose.get(_plain(wanted), [])
        candidates = candidates or loose.get(_usual(wanted), [])
        if len(candidates) == 1:
            found[folder] = candidates[0]
        else:
            mapped = "" if wanted == folder else f" (mapped to {wanted})"
            near = [] if candidates else difflib.get_close_matches(wanted.replace("_", " "), labels, 1)
            strangers.append(folder + mapped + "".join(f" ({label}?)" for label in near))
    if strangers:
        some = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
        raise TrainerError(
            f"no class of the model goes with {', '.join(strangers)}; it knows {some}. "
            "Name a label for each in a file for --map: folder = label"
        )
    return found


def read_mapping(path: Path) -> dict[str, str]:
    """Reads a TOML or JSON file of one table, folder = label.

    Raises:
        TrainerError: It cannot be read, or is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise TrainerError(f"cannot read the map {path}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(label, str) for label in found.values()):
        raise TrainerError(f"{path} is not a table of folder = label")
    return found


def _usual(name: str) -> str:
    usual = {_plain(other): one for other, one in OTHER_NAMES.items()}
    return _plain(usual.get(_plain(name), name))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", label_of(name)).casefold()
