"""HEIC, the photo format of phones. Requires the extra `heic`.

Before libheif gets a file, the boxes in its ``meta`` box (ISO 14496-12 and 23008-12) are read once, to find the parts
of the primary image: its tiles, its transparency and their sizes. Otherwise, a few kilobytes could request the same
tile a thousand times. Thumbnails, depth maps and other items do not count. The size inside the compressed video frame
is not read, because libheif refuses a frame whose size differs from that in the container; a larger one before it
decodes it.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final

from PIL import Image

from gateway.images.bands import opaque, shrunk
from gateway.images.errors import InvalidImage, UnsupportedImage
from gateway.images.limits import check_pixels

AVAILABLE: Final = find_spec("pillow_heif") is not None
"""Whether HEIC can be decoded."""

_HEVC: Final = frozenset({b"hvc1", b"hev1"})
_DERIVED: Final = frozenset({b"grid", b"iden"})  # made of other items, which `dimg` names: ISO 23008-12, section 6.6
_MAX_BOXES: Final = 1000  # in one box; libheif allows 1,000 items in a file too
_MAX_EXTENTS: Final = 32  # of one item, as libheif has it
_MAX_STEPS: Final = 3
# Limit on the pixels of all parts, as a multiple of the pixels of the image. Tiles may extend beyond the right and
# bottom edges, and transparency is another image.
_MAX_OVERLAP: Final = 4
_SMALL_PIXELS: Final = 1 << 20
# libde265 and libheif each hold a copy of the decoded samples during the conversion to RGB or RGBA.
_SAMPLE_COPIES: Final = 2
_SAMPLES_PER_PIXEL: Final = {0: 1.0, 1: 1.5, 2: 2.0, 3: 3.0}  # by chroma_format_idc: H.265, table 6-1
_ALPHA: Final = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")

Part = tuple[int, int]
"""Start and end of the content of a box."""


@dataclass(slots=True)
class _Meta:
    """The items in a ``meta`` box.

    Attributes:
        primary: The item to show.
        types: Item to its type, such as ``hvc1``.
        properties: All properties: kind and content.
        owned: Item to the numbers of its properties, from 1.
        parts: Item to the items it is derived from (``dimg``).
        auxiliary: Item to its auxiliary items (``auxl``): transparency, depth.
    """

    primary: int | None = None
    types: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, Part]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)
    auxiliary: dict[int, list[int]] = field(default_factory=dict)


class _HeicPicture:
    """The primary image of a file; the container's rotation is applied as it is decoded."""

    orientation: Final = 1  # EXIF only repeats the rotation of the container

    def __init__(self, data: bytes) -> None:
        from pillow_heif import open_heif, options

        options.DECODE_THREADS = 0  # tiles are decoded one after the other, in this thread
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        file = open_heif(data, convert_hdr_to_8bit=True, remove_stride=False)
        self._image = file[file.primary_index]
        self.size: tuple[int, int] = self._image.size

    def load(self, shrink: float) -> tuple[Image.Image, int]:
        pixels: memoryview = self._image.data
        mode, stride, (width, height) = self._image.mode, self._image.stride, self._image.size
        if (width, height) != self.size:
            raise InvalidImage("The HEIC image does not have the size that its header states.")
        factor = max(1, int(shrink / 2))

        def rows(top: int, bottom: int) -> Image.Image:
            part = bytes(pixels[top * stride : bottom * stride])
            return opaque(Image.frombytes(mode, (width, bottom - top), part, "raw", mode, stride))

        return shrunk(self.size, rows, factor), factor


def open_heic(data: bytes, max_pixels: int, bytes_per_pixel: float) -> _HeicPicture:
    """Read the parts of the primary image of a HEIC file; see `Format.open`.

    The memory for a pixel is that with 8 bits and 4:2:0 subsampling.

    Raises:
        UnsupportedImage: It is coded with another codec than HEVC.
        ImageTooLarge: The image has too many pixels.
        InvalidImage: The boxes are broken, or the parts have far more pixels than the image.
    """
    meta = _read_meta(data)
    if meta.primary not in meta.types:
        raise InvalidImage("The HEIC image has no primary image.")
    images = _coded(meta, meta.primary)
    if any(meta.types.get(item) not in _HEVC for item in images):
        raise UnsupportedImage("HEIF images are accepted only with HEVC coding. Send a JPEG instead.")

    size = _size(data, meta, meta.primary)
    auxiliary = {mask for one in {meta.primary, *images} for mask in meta.auxiliary.get(one, ())}
    masks = [mask for mask in auxiliary if _is_alpha(data, meta, mask)]
    costs = [_bytes_per_pixel(data, meta, item, transparent=bool(masks)) for item in set(images)]
    check_pixels(size, max_pixels, max([bytes_per_pixel, *costs]))
    coded = images + [item for mask in masks for item in _coded(meta, mask)]
    pixels_of = {item: math.prod(_size(data, meta, item)) for item in set(coded)}  # a tile may be used many times
    pixels = sum(pixels_of[item] for item in coded)
    if pixels > _MAX_OVERLAP * size[0] * size[1] + _SMALL_PIXELS:
        raise InvalidImage(
            f"The HEIC image of {size[0]} x {size[1]} pixels has tiles with {pixels / 1e6:.1f} megapixels."
        )
    return _HeicPicture(data)


def _coded(meta: _Meta, item: int) -> list[int]:
    """The coded items of an item, each as often as it is used: the item itself, or the tiles of a grid."""
    for _ in range(_MAX_STEPS):
        parts = meta.parts.get(item, [])
        if meta.types.get(item) == b"grid":
            if any(meta.types.get(part) in _DERIVED for part in parts):
                raise UnsupportedImage("HEIF images with nested tiles are not accepted. Send a JPEG instead.")
            return parts
        if meta.types.get(item) != b"iden" or not parts:
            return [item]
        item = parts[0]
    raise InvalidImage("The HEIC image has too many levels of derived images.")


def _size(data: bytes, meta: _Meta, item: int) -> tuple[int, int]:
    """Width and height of an item before it is cropped and turned: ``ispe``, ISO 23008-12, section 6.5.3."""
    start, end = _property(meta, item, b"ispe")
    _, width, height = struct.unpack(">III", data[start:end])
    return width, height


def _is_alpha(data: bytes, meta: _Meta, item: int) -> bool:
    """Whether an auxiliary image is transparency, the only kind that is decoded: ISO 23008-12, section 6.6.2.1.1."""
    start, end = _property(meta, item, b"auxC")
    return data[start + 4 : end].split(b"\0", 1)[0] in _ALPHA


def _bytes_per_pixel(data: bytes, meta: _Meta, item: int, *, transparent: bool) -> float:
    """Memory for decoding a pixel, by chroma format and depth in ``hvcC``: ISO 14496-15, section 8.3.3.1."""
    start, end = _property(meta, item, b"hvcC")
    chroma, depth = data[start:end][16] & 3, (data[start:end][17] & 7) + 8
    samples = _SAMPLES_PER_PIXEL[chroma] + transparent
    return _SAMPLE_COPIES * samples * (2 if depth > 8 else 1) + 3 + transparent


def _property(meta: _Meta, item: int, kind: bytes) -> Part:
    for number in meta.owned.get(item, ()):
        if 1 <= number <= len(meta.properties) and meta.properties[number - 1][0] == kind:
            return meta.properties[number - 1][1]
    raise InvalidImage(f"The HEIC image lacks the property {kind.decode()}.")


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box: ISO 14496-12, section 4.2."""
    for _ in range(_MAX_BOXES):
        if start == end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            size = end - start
        if not header <= size <= end - start:
            raise InvalidImage("The HEIC image is truncated or corrupt and cannot be decoded.")
        yield kind, start + header, start + size
        start += size
    raise InvalidImage("The HEIC image has too many boxes.")


def _read_meta(data: bytes) -> _Meta:
    meta_box = next(((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta_box is None:
        raise InvalidImage("The HEIC image has no primary image.")
    meta = _Meta()
    start, end = meta_box
    for kind, at, stop in _boxes(data, start + 4, end):
        if kind == b"pitm":
            meta.primary = _Reader(data, at + 4, stop).number(4 if data[at] else 2)
        elif kind == b"iinf":
            _read_types(data, at, stop, meta)
        elif kind == b"iprp":
            _read_properties(data, at, stop, meta)
        elif kind == b"iref":
            _read_references(data, at, stop, meta)
        elif kind == b"iloc":
            _check_extents(data, at, stop)
    return meta


class _Reader:
    """Reads big-endian numbers up to the end of a box."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._at = start
        self._end = end

    def number(self, size: int) -> int:
        if self._at + size > self._end:
            raise InvalidImage("The HEIC image is truncated or corrupt and cannot be decoded.")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at])


def _read_types(data: bytes, start: int, end: int, meta: _Meta) -> None:
    """Item infos: ISO 14496-12, section 8.11.6."""
    for kind, at, stop in _boxes(data, start + (8 if data[start] else 6), end):
        if kind != b"infe" or data[at] < 2:  # older versions do not occur in images
            continue
        entry = _Reader(data, at + 4, stop)
        item = entry.number(4 if data[at] > 2 else 2)
        entry.number(2)
        meta.types[item] = entry.number(4).to_bytes(4)


def _read_properties(data: bytes, start: int, end: int, meta: _Meta) -> None:
    """All properties, and the properties of each item: ISO 14496-12, section 8.11.14."""
    for kind, at, stop in _boxes(data, start, end):
        if kind == b"ipco":
            meta.properties = [(inner, (begin, finish)) for inner, begin, finish in _boxes(data, at, stop)]
        elif kind == b"ipma":
            box = _Reader(data, at, stop)
            version, flags = box.number(1), box.number(3)
            for _ in range(min(box.number(4), _MAX_BOXES)):
                item = box.number(4 if version else 2)
                numbers = [box.number(2) & 0x7FFF if flags & 1 else box.number(1) & 0x7F for _ in range(box.number(1))]
                meta.owned.setdefault(item, []).extend(numbers)


def _read_references(data: bytes, start: int, end: int, meta: _Meta) -> None:
    """References between items: ISO 14496-12, section 8.11.12."""
    size = 4 if data[start] else 2
    for kind, at, stop in _boxes(data, start + 4, end):
        box = _Reader(data, at, stop)
        source, count = box.number(size), box.number(2)
        if kind == b"dimg":
            meta.parts.setdefault(source, []).extend(box.number(size) for _ in range(count))
        elif kind == b"auxl":
            for _ in range(count):
                meta.auxiliary.setdefault(box.number(size), []).append(source)


def _check_extents(data: bytes, start: int, end: int) -> None:
    """Refuse items that have more bytes in total than the file: ISO 14496-12, section 8.11.3.

    libheif copies the metadata of each item, so that overlapping items of a small file would take gigabytes.
    """
    box = _Reader(data, start, end)
    version = box.number(1)
    box.number(3)
    sizes = box.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    total = 0
    for _ in range(min(box.number(4 if version == 2 else 2), _MAX_BOXES)):
        box.number((4 if version == 2 else 2) + (2 if version else 0) + 2 + base_size)
        extents = box.number(2)
        if extents > _MAX_EXTENTS:
            raise InvalidImage("The HEIC image has an item with too many extents.")
        for _ in range(extents):
            box.number(index_size + offset_size)
            total += box.number(length_size)
    if total > len(data):
        raise InvalidImage("The HEIC image has items that exceed the size of the file.")
