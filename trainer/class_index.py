"""The names of the ImageNet classes, in the order of the weights that Keras offers."""

import json
import os
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

from trainer.downloads import impatient_downloads
from trainer.errors import TrainerError

ADDRESS: Final = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
"""Where keras.applications has it from."""

CLASSES: Final = 1000
DOGS: Final = range(151, 269)
"""The 118 breeds among the 1,000 classes: Chihuahua to Mexican hairless."""

NAMED: Final = {151: "Chihuahua", 268: "Mexican_hairless"}
"""What a class index must say at both ends: with another order every answer would be wrong."""


class ClassIndexUnavailable(TrainerError):
    """The file that names the classes is not there and cannot be fetched."""

    exit_status = 3


def read_dogs(path: Path | None, connect_seconds: float | None = None) -> list[str]:
    """Returns the names of the dog classes in order, with spaces: `Mexican hairless`.

    Args:
        path: A file `{"0": ["n01440764", "tench"], ...}`; None for the one that Keras keeps, fetched once.
        connect_seconds: As for `impatient_downloads`.

    Raises:
        ClassIndexUnavailable: There is no such file, or no network.
        TrainerError: The file is something else, or its classes have another order.
    """
    if path is None:
        # Where Keras keeps it; without Keras, which takes seconds to load.
        home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
        kept = home / "models" / "imagenet_class_index.json"
        try:
            return _dogs(kept.read_bytes(), kept)
        except (OSError, TrainerError):
            return _fetch(kept, connect_seconds)
    try:
        return _dogs(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise ClassIndexUnavailable(f"there is no class index {path}") from error


def _dogs(content: bytes, source: object) -> list[str]:
    try:
        found: dict[str, list[str]] = json.loads(content)
        names = {int(number): pair[1] for number, pair in found.items()}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise TrainerError(f"{source} is not a class index: a JSON object of number: [id, name]") from error
    if sorted(names) != list(range(CLASSES)) or any(names[at] != name for at, name in NAMED.items()):
        raise TrainerError(f"{source} does not have the {CLASSES} classes of ImageNet in the order of Keras")
    return [names[at].replace("_", " ") for at in DOGS]


def _fetch(kept: Path, connect_seconds: float | None) -> list[str]:
    try:
        with impatient_downloads(connect_seconds), urllib.request.urlopen(ADDRESS) as answer:
            content = answer.read()
        dogs = _dogs(content, "what was answered")  # a network that wants a login first answers all with its own page
    except (OSError, HTTPException, TrainerError) as error:
        raise ClassIndexUnavailable(
            f"the ImageNet class index cannot be fetched ({getattr(error, 'reason', error)}): is there a network? "
            "Give it with --class-index FILE, or to scripts/run as imagenet_class_index.json beside the WEIGHTS"
        ) from error
    with suppress(OSError):  # a home that cannot be written to: it is fetched each time
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(".draft")
        draft.write_bytes(content)
        draft.replace(kept)
    return dogs
