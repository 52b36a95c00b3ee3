"""Problems of single photos: copies of each other, size, blur, brightness and colour."""

from collections.abc import Sequence
from typing import Final

from gateway.images.formats import FORMATS
from trainer.check.findings import PhotoFinding
from trainer.data.data_set import Contents
from trainer.data.duplicates import Pictures
from trainer.data.photos import Photo
from trainer.data.quality import Quality
from trainer.data.splits import SPLITS

MIN_SHARPNESS: Final = 0.08
"""A photo that is less sharp is blurred.

Of 180 photos of dogs and cats, the least sharp one has 0.09. After a Gaussian blur of 2 pixels in 224, 9 of 10 have
less than 0.09, and the median is 0.05.
"""

MIN_CONTRAST: Final = 12.0
"""Standard deviation of the luminance; of the same photos, the least is 27."""

DARK, BRIGHT = 30.0, 240.0
"""Mean luminance; the same photos have 40 to 228."""

GREY: Final = 2.0
"""Mean difference between the channels; the same photos have 3.5 or more. Scans of grey photos have less than 1."""

MIN_SIZE: Final = 0.75
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
    kept, findings = [], []
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
            findings.append(PhotoFinding("two_classes", photo.path, label, text, other=twin.path))
        elif split != splits[twin.path]:
            text = f"{same} is in {split} and in {splits[twin.path]}"
            findings.append(PhotoFinding("leak", photo.path, label, text, other=twin.path))
        else:
            findings.append(PhotoFinding("duplicate", photo.path, label, same, other=twin.path))
    return kept, findings


def misnamed(photos: Sequence[Photo], labels: Sequence[str]) -> list[PhotoFinding]:
    """Returns the photos whose names end as those of another format."""
    findings = []
    for photo in photos:
        suffix = photo.path.suffix.lower()
        with photo.path.open("rb") as file:
            start = file.read(SIGNATURE_BYTES)
        actual = next((one.name for one in FORMATS if one.signature.match(start)), None)
        if suffix and actual is not None and actual != SUFFIXES.get(suffix):
            text = f"the name ends in {photo.path.suffix}, the content is {actual}"
            findings.append(PhotoFinding("misnamed", photo.path, labels[photo.label], text))
    return findings


def quality_findings(
    photos: Sequence[Photo], measured: Sequence[Quality], labels: Sequence[str], input_size: int
) -> list[PhotoFinding]:
    """Returns the photos that are small, blurred, nearly empty, dark, bright or grey; the worst first."""
    many_grey = sum(one.colour < GREY for one in measured) > MANY_GREY * len(measured)
    ranked: list[tuple[float, PhotoFinding]] = []

    def add(rank: float, finding: PhotoFinding) -> None:
        ranked.append((rank, finding))

    for photo, quality in zip(photos, measured, strict=True):
        path, label = photo.path, labels[photo.label]
        if min(quality.width, quality.height) < MIN_SIZE * input_size:
            text = f"{quality.width} x {quality.height} pixels; the model takes {input_size} x {input_size}"
            add(min(quality.width, quality.height), PhotoFinding("small", path, label, text))
        if quality.contrast < MIN_CONTRAST:
            add(quality.contrast, PhotoFinding("empty", path, label, f"contrast {quality.contrast:.0f} of 128"))
        elif quality.sharpness < MIN_SHARPNESS:
            add(quality.sharpness, PhotoFinding("blurred", path, label, f"sharpness {quality.sharpness:.2f}"))
        if quality.brightness < DARK:
            add(
                quality.brightness,
                PhotoFinding("dark", path, label, f"mean brightness {quality.brightness:.0f} of 255"),
            )
        if quality.brightness > BRIGHT:
            add(
                -quality.brightness,
                PhotoFinding("bright", path, label, f"mean brightness {quality.brightness:.0f} of 255"),
            )
        if quality.colour < GREY and not many_grey:
            add(quality.colour, PhotoFinding("grey", path, label, "no colour"))
    return [finding for _, finding in sorted(ranked, key=lambda row: row[0])]
