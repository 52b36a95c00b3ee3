"""Which weights a network starts from: ImageNet's, none, or a file; and what to say when they cannot be had."""

from pathlib import Path

from trainer.errors import TrainerError

IMAGENET, NONE = "imagenet", "none"


class WeightsUnavailable(TrainerError):
    """The weights asked for cannot be had: no such file, a file of something else, or no network to fetch them."""

    exit_status = 3


def check_weights_file(weights: str) -> None:
    """Checks that a file of weights is there, before anything slow is begun.

    Raises:
        WeightsUnavailable: It is not.
    """
    if weights not in {IMAGENET, NONE} and not Path(weights).is_file():
        raise WeightsUnavailable(f"there is no weights file {weights}; --weights is imagenet, none or a file")


def weights_source(weights: str) -> str:
    """Returns what a card says of weights: `imagenet`, `none`, or `file` in place of a path of this machine."""
    return weights if weights in {IMAGENET, NONE} else "file"
