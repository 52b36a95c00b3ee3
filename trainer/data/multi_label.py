"""Photos with several labels or none: each once with all its labels, and in strata, by which they are divided."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.data.photos import Photo
from trainer.data.splits import Split

Placed = tuple[Split | None, Photo]
"""A photo and its split."""


def merged(photos: Sequence[Placed]) -> list[Placed]:
    """Returns each photo of a split once, with all labels that it has in class folders or rows of a table."""
    unique: dict[tuple[Split | None, bytes], Photo] = {}
    for split, photo in photos:
        first = unique.setdefault((split, photo.key), photo)
        labels = tuple(sorted({*first.labels, *photo.labels}))
        unique[split, photo.key] = dataclasses.replace(first, labels=labels)
    return [(split, photo) for (split, _), photo in unique.items()]


def limited(photos: Sequence[Placed], limit: int) -> Iterator[Placed]:
    """Yields photos with a label, or without any, of which there are fewer than the limit so far; 0: no limit."""
    counts: Counter[tuple[Split | None, int]] = Counter()
    for split, photo in photos:
        counted = [(split, label) for label in photo.labels or (-1,)]
        if not limit or min(counts[one] for one in counted) < limit:
            counts.update(counted)
            yield split, photo


def strata(photos: Sequence[Photo]) -> list[int]:
    """Returns the stratum of each photo, by which photos are divided: its rarest label, or -1 if it has none."""
    counts = Counter(label for photo in photos for label in photo.labels)
    return [min(photo.labels, key=lambda label: (counts[label], label), default=-1) for photo in photos]


def warnings(photos: Sequence[Placed]) -> Iterator[str]:
    """Yields what looks odd, a sentence each."""
    if not any(len(photo.labels) > 1 for _, photo in photos):
        yield "no photo has several labels; without --multi-label, exactly one is the answer"
    if all(photo.labels for _, photo in photos):
        yield (
            "every photo has a label, so photos of other things may get one, too; rows of a CSV file with only a file "
            "add photos without labels"
        )
