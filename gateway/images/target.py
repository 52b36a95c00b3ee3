"""The input size of a model, and how to fit images to it."""

from dataclasses import dataclass
from typing import Literal, get_args

FitMode = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True, slots=True)
class Target:
    """Input size, fit and interpolation.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        fit: ``crop`` scales the photo to cover the size and crops the centre, ``pad`` scales it to fit and adds black
            bars, ``squash`` changes its aspect ratio.
        interpolation: The resampling filter. All but ``nearest`` antialias when they shrink.
    """

    height: int
    width: int
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width must be positive, not {self.height} and {self.width}")
        if self.fit not in get_args(FitMode):
            raise ValueError(f"fit must be one of {', '.join(get_args(FitMode))}, not {self.fit!r}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {', '.join(get_args(Interpolation))}, not {self.interpolation!r}"
            )


def placement(
    size: tuple[int, int], target_size: tuple[int, int], fit: FitMode
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """The size to which an image of ``size`` is resized, and the part of it that is used: left, top, right, bottom."""
    width, height = size
    if fit == "squash":
        return target_size, (0, 0, width, height)
    if fit == "pad":
        scale = min(target_size[0] / width, target_size[1] / height)
        return (max(1, round(width * scale)), max(1, round(height * scale))), (0, 0, width, height)
    scale = max(target_size[0] / width, target_size[1] / height)
    across, down = min(width, target_size[0] / scale), min(height, target_size[1] / scale)
    left, top = (width - across) / 2, (height - down) / 2
    return target_size, (left, top, left + across, top + down)
