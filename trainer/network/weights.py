"""Initial weights of a network: `imagenet`, `none` or a file."""

from pathlib import Path

from trainer.errors import TrainerError

IMAGENET, NONE = "imagenet", "none"

PRESET = "preset"
"""On a model card, the weights of a preset of KerasHub, which `imagenet` selects."""


class WeightsUnavailable(TrainerError):
    """The weights are not available: the file does not exist or fit, or the download failed."""

    exit_status = 3


def check_weights_file(weights: str) -> None:
    """Checks that a file of weights exists, before any slow work.

    Raises:
        WeightsUnavailable: It does not exist.
    """
    if weights not in {IMAGENET, NONE} and not Path(weights).is_file():
        raise WeightsUnavailable(f"the file {weights} does not exist; --weights takes imagenet, none or a file")


def weights_source(weights: str) -> str:
    """Returns the value for the model card: `imagenet`, `none`, or `file` instead of a path."""
    return weights if weights in {IMAGENET, NONE} else "file"
