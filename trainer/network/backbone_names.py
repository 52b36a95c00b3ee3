"""Names of backbones that are presets of KerasHub or `.keras` files, and checks that need not load them.

Needs neither TensorFlow nor KerasHub.
"""

import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path
from typing import Final

from trainer.errors import TrainerError
from trainer.network.weights import WeightsUnavailable

PREFIX: Final = "kerashub:"
"""What the name of a preset begins with: `kerashub:vit_base_patch16_224_imagenet`."""

REQUIREMENTS: Final = ("keras-hub==0.32.*", "tensorflow-text==2.20.*")
"""What the extra `kerashub` of pyproject.toml installs."""


def names_preset(network: str) -> bool:
    """Returns whether the name of a network is that of a preset of KerasHub."""
    return network.startswith(PREFIX)


def names_own_file(network: str) -> bool:
    """Returns whether the name of a network is the path of a `.keras` file."""
    return network.endswith(".keras") and not names_preset(network)


def preset_of(network: str) -> str:
    """Returns the preset that a network names: one of KerasHub, a folder, or a URL such as `hf://keras/resnet_50`."""
    return network.removeprefix(PREFIX)


def without_folder(network: str) -> str:
    """Returns the name of a network without the path to a file or a folder of a preset, for what is published."""
    if names_own_file(network):
        return Path(network).name
    preset = preset_of(network)
    if not names_preset(network) or "://" in preset:
        return network
    return PREFIX + Path(preset).resolve().name


def content_of(network: str) -> str:
    """Returns a hexadecimal digest of what a network is read from: a `.keras` file, or the files of a preset's folder.

    Of other networks, it is an empty string.
    """
    if names_own_file(network):
        return _digest(Path(network))
    folder = Path(preset_of(network))
    if not names_preset(network) or not folder.is_dir():
        return ""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}/{_digest(path)}/".encode())
    return digest.hexdigest()


def needs_kerashub(network: str) -> bool:
    """Returns whether a network is a preset of KerasHub, or a `.keras` file with layers from there.

    Raises:
        KeyError: The file has no model.
    """
    return names_preset(network) or (names_own_file(network) and has_layers_of_kerashub(Path(network)))


def has_layers_of_kerashub(path: Path) -> bool:
    """Returns whether a `.keras` file has layers of KerasHub.

    Raises:
        KeyError: The archive has no model.
    """
    with zipfile.ZipFile(path) as archive:
        return b'"keras_hub' in archive.read("config.json")


def check_backbone_available(network: str) -> None:
    """Checks that KerasHub is installed if a network is from there, or that its file exists, before any slow work.

    Raises:
        TrainerError: KerasHub is not installed, or the file is not a Keras file.
        WeightsUnavailable: The file does not exist.
    """
    if names_preset(network):
        check_installed(network)
    if names_own_file(network):
        check_own_file(network)


def check_own_file(network: str) -> None:
    """Checks that a `.keras` file exists and looks like one.

    Raises:
        TrainerError: It is not a zip archive, as every `.keras` file is.
        WeightsUnavailable: It does not exist.
    """
    if not Path(network).is_file():
        raise WeightsUnavailable(
            f"the file {network} does not exist; --backbone takes a .keras file or a network's name"
        )
    if not zipfile.is_zipfile(network):
        raise TrainerError(f"{network} is not a .keras file; write one with model.save in Keras 3")


def check_installed(what: str) -> None:
    """Checks that KerasHub is installed.

    Args:
        what: What needs it, for the message.

    Raises:
        TrainerError: It is not.
    """
    if importlib.util.find_spec("keras_hub") is None:
        requirements = " ".join(f"'{one}'" for one in REQUIREMENTS)
        raise TrainerError(f"{what} needs the Python package keras-hub: {sys.executable} -m pip install {requirements}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
