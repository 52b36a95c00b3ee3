"""Decode photos into views for training: the plain view, as in serving, and augmented ones."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.images import FitMode, Target, decode_image
from trainer.data.photos import Photo, content_key, read_again
from trainer.model_card import InputSpec

VIEWS: Final = ("plain", "flip", "top-left", "top-right flip", "bottom-right", "bottom-left flip", "pad", "squash flip")
"""In the order in which `--views N` takes them.

A corner keeps 1 / CORNER_ZOOM of the height and width; `pad` and `squash` are the other ways to fit a photo.
"""

FITS: Final[dict[str, FitMode]] = {"pad": "pad", "squash": "squash"}

CORNER_ZOOM: Final = 1.25

Pixels = NDArray[np.uint8]


def view(data: bytes, spec: InputSpec, name: str) -> Pixels:
    """Returns one view of an encoded photo, uint8 (height, width, 3).

    Raises:
        ImageError: The photo cannot be decoded.
    """
    kind = name.removesuffix("flip").strip()
    if kind in FITS:
        pixels = decode_image(data, Target(spec.height, spec.width, FITS[kind], spec.interpolation))
    elif kind in {"", "plain"}:
        pixels = decode_image(data, spec.target)
    else:
        height, width = round(spec.height * CORNER_ZOOM), round(spec.width * CORNER_ZOOM)
        larger = decode_image(data, Target(height, width, spec.fit, spec.interpolation))
        top = height - spec.height if "bottom" in kind else 0
        left = width - spec.width if "right" in kind else 0
        pixels = larger[top : top + spec.height, left : left + spec.width]
    return pixels[:, ::-1] if name.endswith("flip") else pixels


def view_key(photo: Photo, name: str) -> bytes:
    """Returns the key under which is filed what is computed from a photo's view."""
    return content_key(photo.key + name.encode())


def decode_ahead(
    todo: Sequence[tuple[Photo, Sequence[str]]], spec: InputSpec, workers: int, ahead: int = 64
) -> Iterator[tuple[Photo, Sequence[str], list[Pixels]]]:
    """Gives each photo with its views' names and pixels, in order, decoded by threads some photos ahead of the caller.

    At most `ahead` photos are held, so memory does not grow with their number.
    """

    def decode(photo: Photo, names: Sequence[str]) -> tuple[Photo, Sequence[str], list[Pixels]]:
        return photo, names, read_again(photo.path, lambda data: [view(data, spec, name) for name in names])

    waiting: deque[Future[tuple[Photo, Sequence[str], list[Pixels]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for photo, names in todo:
                waiting.append(pool.submit(decode, photo, names))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
