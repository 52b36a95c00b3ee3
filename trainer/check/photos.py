"""Problems of single photos: copies of each other, size, blur, brightness and colour."""

from collections.abc import Sequence
from typing import Final

from gateway.images.formats import FORMATS
from trainer.check.findings import PhotoFinding
from trainer.data.data_set import Contents
from trainer.data.duplicates import Pictures
from trainer.data.folders import SPLITS
from trainer.data.photos import Photo
from trainer.data.quality import Quality

LEAST_SHARPNESS: Final = 0.08
"""A photo that is less sharp is blurred.

Of 180 photos of dogs and cats, the least sharp one has 0.09. After a Gaussian blur of 2 pixels in 224, 9 of 10 have
less than 0.09, and the median is 0.05.
"""

LEAST_CONTRAST: Final = 12.0
"""Standard deviation of the luminance; of the same photos, the least is 27."""

DARK, BRIGHT = 30.0, 240.0
"""Mean luminance; the same photos have 40 to 228."""

GREY: Final = 2.0
"""Mean difference between the channels; the same photos have 3.5 or more. Scans of grey photos have less than 1."""

LEAST_SIZE: Final = 0.75
"""A photo is small if its smaller side is less than this share of the input size of the model."""

SUFFIXES: Final = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP",
    ".dib": "BMP", ".webp": "WebP", ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC",
}  # fmt: skip
"""How the names of photos end, by format."""

SIGNATURE_BYTES: Final = 16
"""Bytes at the start of a file that its format is known by."""

MANY_GREY: Final = 0.2
"""Above this share, photos without colour belong to the data set."""


def copies(contents: Contents) -> tuple[list[Photo], list[PhotoFinding]]:
    """Returns one photo of each picture, and a finding for each copy. Training photos are kept before others."""
    order = {split: at for at, split in enumerate((*SPLITS, None))}
    rows = sorted(contents.photos, key=lambda row: order[row[0]])
    pictures, splits = Pictures(), {photo.path: split for split, photo in rows}
    kept, found = [], []
    for split, photo in rows:
        twin = pictures.twin(photo)
        if twin is None:
            kept.append(photo)
            pictures.add(photo)
            continue
        label, other = contents.labels[photo.label], contents.labels[twin.label]
        same = "the same file" if twin.key == photo.key else "the same picture"
        if label != other:
            text = f"{same} is in {label!r} and in {other!r}"
            found.append(PhotoFinding("two_classes", photo.path, label, text, other=twin.path))
        elif split != splits[twin.path]:
            text = f"{same} is in {split} and in {splits[twin.path]}"
            found.append(PhotoFinding("leak", photo.path, label, text, other=twin.path))
        else:
            found.append(PhotoFinding("duplicate", photo.path, label, same, other=twin.path))
    return kept, found


def misnamed(photos: Sequence[Photo], labels: Sequence[str]) -> list[PhotoFinding]:
    """Returns the photos whose names end as those of another format."""
    found = []
    for photo in photos:
        suffix = photo.path.suffix.lower()
        with photo.path.open("rb") as file:
            start = file.read(SIGNATURE_BYTES)
        actual = next((one.name for one in FORMATS if one.signature.match(start)), None)
        if suffix and actual is not None and actual != SUFFIXES.get(suffix):
            text = f"the name ends in {photo.path.suffix}, the content is {actual}"
            found.append(PhotoFinding("misnamed", photo.path, labels[photo.label], text))
    return found


def quality_findings(
    photos: Sequence[Photo], measured: Sequence[Quality], labels: Sequence[str], input_size: int
) -> list[PhotoFinding]:
    """Returns the photos that are small, blurred, nearly empty, dark, bright or grey; the worst first."""
    many_grey = sum(one.colour < GREY for one in measured) > MANY_GREY * len(measured)
    found: list[tuple[float, PhotoFinding]] = []

    def add(rank: float, finding: PhotoFinding) -> None:
        found.append((rank, finding))

    for photo, one in zip(photos, measured, strict=True):
        path, label = photo.path, labels[photo.label]
        if min(one.width, one.height) < LEAST_SIZE * input_size:
            text = f"{one.width} x {one.height} pixels; the model takes {input_size} x {input_size}"
            add(min(one.width, one.height), PhotoFinding("small", path, label, text))
        if one.contrast < LEAST_CONTRAST:
            add(one.contrast, PhotoFinding("empty", path, label, f"contrast {one.contrast:.0f} of 128"))
        elif one.sharpness < LEAST_SHARPNESS:
            add(one.sharpness, PhotoFinding("blurred", path, label, f"sharpness {one.sharpness:.2f}"))
        if one.brightness < DARK:
            add(one.brightness, PhotoFinding("dark", path, label, f"mean brightness {one.brightness:.0f} of 255"))
        if one.brightness > BRIGHT:
            add(-one.brightness, PhotoFinding("bright", path, label, f"mean brightness {one.brightness:.0f} of 255"))
        if one.colour < GREY and not many_grey:
            add(one.colour, PhotoFinding("grey", path, label, "no colour"))
    return [finding for _, finding in sorted(found, key=lambda row: row[0])]
