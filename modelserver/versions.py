"""The versions of a model, their states, and the choice of versions to serve."""

import enum
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelserver.config import ModelConfig, Policy
from modelserver.errors import ServingError
from modelserver.servable import Servable

_VERSION_NAME = re.compile(r"0*[0-9]{1,19}")
"""Versions may have leading zeros: TensorFlow Serving reads "007" as version 7."""
_LARGEST_VERSION = 2**63 - 1


class State(enum.IntEnum):
    """States of a version, with the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


def versions_in(path: Path) -> Mapping[int, str] | OSError:
    """The versions in a folder, each with the name of its folder; the error if the folder cannot be read.

    If two folders have the same number, the one with fewer leading zeros is used.
    """
    try:
        # Entries, and the targets of links, are looked up in the open folder. Looked up by path, they are missing once
        # somebody has renamed the folder: it would seem to be empty, and the model would be unloaded.
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if _VERSION_NAME.fullmatch(entry.name) and entry.is_dir()]
        finally:
            os.close(folder)
    except OSError as error:
        return error
    return {int(name): name for name in sorted(names, key=len, reverse=True) if int(name) <= _LARGEST_VERSION}


H5_FILES = ("*.h5", "*.hdf5")
OTHER_FORMATS = ("*.pb", "*.onnx", "*.tflite", "*.pt", "*.pth", "*.safetensors", "*.meta", "*.index", "model.json")
"""Frozen graphs, ONNX, LiteRT, PyTorch, checkpoints of TensorFlow, and TensorFlow.js."""


def misplaced(path: Path) -> str | None:
    """Advice about a common mistake in the folder of a version; None without one."""
    if any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return None
    nested = next(path.glob("*/saved_model.pb"), None)
    if nested is not None:
        return f"{path} holds a SavedModel one folder too deep: move what is in {nested.parent} to {path}"
    other = next((one for kind in ("*.keras", *H5_FILES, *OTHER_FORMATS) for one in path.glob(kind)), None)
    if other is None:
        return None
    if other.suffix == ".keras":
        remedy = f"use breed publish {other} --name NAME"
    else:
        h5 = f"*{other.suffix}" in H5_FILES
        how = "by model.export(FOLDER) with Keras" if h5 else "as a SavedModel, a folder with saved_model.pb"
        remedy = f"export it {how}, then breed publish FOLDER --name NAME"
    return f"{path} holds {other.name}, which is not a SavedModel: {remedy}"


def without_versions(path: Path) -> str | None:
    """Advice about a common mistake in the folder of a model without versions; None if none is found."""
    try:
        return _advice(path)
    except OSError:  # it may change meanwhile
        return None


def _advice(path: Path) -> str | None:
    if (path / "saved_model.pb").is_file() and path.name.isdecimal():
        return f"{path} is the folder of a version: use {path.parent}"
    if (path / "saved_model.pb").is_file():
        return f"{path} holds a SavedModel itself: move it into {path / '1'}, a folder for its version"
    nested = next(path.glob("*/saved_model.pb"), None)
    if nested is not None:
        return (
            f"{nested.parent} holds a SavedModel, but the folder of a version has a number as its name: rename it to 1"
        )
    return misplaced(path)


@dataclass(slots=True)
class Version:
    """A version of a model that has been seen.

    Attributes:
        number: Version number.
        state: State of the version.
        error: Why it is not available. Kept after its end.
        aspired: Whether the policy selects it, or it is being retried.
        servable: The loaded model, while AVAILABLE or UNLOADING.
        in_flight: Number of requests that use it.
    """

    number: int
    state: State = State.START
    error: ServingError | None = None
    aspired: bool = True
    servable: Servable | None = None
    in_flight: int = 0


@dataclass(slots=True)
class Model:
    """A configured model and all versions that have been seen."""

    config: ModelConfig
    on_disk: Mapping[int, str] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    waiting: bool = False

    def folder(self, number: int) -> Path:
        """Path of a version."""
        return self.config.base_path / self.on_disk.get(number, str(number))

    def newest(self) -> Version | None:
        """The AVAILABLE version with the highest number."""
        return max(
            (v for v in self.versions.values() if v.state is State.AVAILABLE), key=lambda v: v.number, default=None
        )

    def versions_to_serve(self) -> set[int]:
        """The versions to serve: those of the policy, with older ones in place of broken ones."""
        config = self.config
        if config.policy is Policy.ALL:
            return set(self.on_disk)
        if config.policy is Policy.SPECIFIC:
            return self.on_disk.keys() & config.specific
        sound = [number for number in self.on_disk if not self._broken(number)]
        return set(sorted(sound, reverse=True)[: config.latest])

    def versions_to_retry(self) -> set[int]:
        """The broken versions that the policy would select."""
        newest = sorted(self.on_disk, reverse=True)[: self.config.latest]
        return {number for number in newest if self._broken(number)} if self.config.policy is Policy.LATEST else set()

    def _broken(self, number: int) -> bool:
        version = self.versions.get(number)
        return version is not None and version.error is not None
