"""Read the shapes of a signature: batch dimension, layout of images, number of classes."""

from __future__ import annotations

from gateway.images.pixel_format import Layout
from gateway.pb.serving_pb2 import TensorInfo


def rank(info: TensorInfo) -> int | None:
    """Number of dimensions of an input or output; None if the signature leaves it open."""
    return None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)


def sizes_of(info: TensorInfo) -> tuple[int, ...] | None:
    """Sizes of an input or output, -1 for an open one; None if the rank is open."""
    return None if rank(info) is None else tuple(dim.size for dim in info.tensor_shape.dim)


def batch_and_row(sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Number of images in a call, as in `Contract.batch_size`, and the sizes of one image."""
    if len(sizes) == 4 or (sizes[-1] != 3 and sizes[0] in (-1, 1)):  # also grey images without a channel dimension
        return sizes[0], sizes[1:]
    return 0, sizes


def layout_of(row: tuple[int, ...]) -> Layout:
    """The order of dimensions of an image."""
    if len(row) == 2:
        return "nhw"
    return "nchw" if row[0] in (1, 3) and row[-1] not in (1, 3) else "nhwc"


def number_of_classes(info: TensorInfo, batch_size: int) -> int | None:
    """Number of classes in an output of scores, -1 if it is open; None if the shape is not that of scores."""
    sizes = sizes_of(info)
    if sizes is None:
        return -1
    if batch_size == 0 and len(sizes) <= 1:
        return sizes[0] if sizes else 1
    if not sizes or sizes[0] not in (-1, batch_size or 1) or 0 in sizes:
        return None
    if len(sizes) == 1:
        return 1
    between_are_one = all(size == 1 for size in sizes[1:-1])
    return sizes[-1] if len(sizes) == 2 or (len(sizes) == 4 and between_are_one) else None


def may_be_equal(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> bool:
    """Whether two shapes, with open sizes, may be equal."""
    if first is None or second is None:
        return True
    return len(first) == len(second) and all(a == b or -1 in (a, b) for a, b in zip(first, second, strict=True))
