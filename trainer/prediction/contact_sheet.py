"""A contact sheet: a page of thumbnails with their answers, those first that a person should look at."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

from trainer.evaluation.page import END, beginning, encoded_thumbnail, percent
from trainer.prediction.pipeline import content
from trainer.prediction.records import Failure, Record
from trainer.prediction.sources import Photo

PHOTOS = 1000
"""Thumbnails on a page. 1,000 of them take about 6 MB."""

FAILURES = 200
"""Photos without an answer that are listed."""

QUALITY = 75
"""JPEG quality of the thumbnails."""

_Entry = tuple[float, int, Photo, Record]


class ContactSheet:
    """Collects the unknown photos, and then those with the lowest confidence.

    Args:
        limit: Number of photos to keep.
    """

    def __init__(self, limit: int = PHOTOS) -> None:
        self._limit = limit
        self._kept: list[_Entry] = []  # a heap, the most certain first
        self._failed: list[Record] = []
        self._counts: Counter[str] = Counter()
        self._failures = 0

    def add(self, photo: Photo, record: Record) -> None:
        """Adds a photo and its answer."""
        if record.failure is not None:
            self._failures += 1
            if len(self._failed) < FAILURES:
                self._failed.append(record)
            return
        self._counts[_heading(record)] += 1
        doubt = (2.0 if record.unknown else 1.0) - (record.confidence or 0.0)
        # Of equal photos, the first is kept.
        entry = (doubt, -sum(self._counts.values()), photo, record)
        if len(self._kept) < self._limit:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def write(self, path: Path, title: str) -> None:
        """Writes the page; reads the photos on it again."""
        entries: dict[str, list[_Entry]] = defaultdict(list)
        thumbnails = {at: _thumbnail(photo) for _, at, photo, _ in sorted(self._kept, key=lambda one: -one[1])}
        for entry in sorted(self._kept, key=lambda one: (-one[0], -one[1])):
            entries[_heading(entry[3])].append(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", errors="backslashreplace") as page:
            page.write(self._head(title))
            for label in sorted(entries):
                figures = "".join(_figure(record, thumbnails[at]) for _, at, _, record in entries[label])
                count = f"{len(entries[label])} of {self._counts[label]}"
                page.write(
                    f"<section><h2>{escape(label or 'Unknown')} <small class='muted'>{count}</small></h2>"
                    f"<div class='photos'>{figures}</div></section>"
                )
            page.write(_failures(self._failed, self._failures) + END)

    def _head(self, title: str) -> str:
        answered = sum(self._counts.values())
        note = f"{answered} photos with an answer, {self._counts['']} of them unknown. "
        if answered > len(self._kept):
            note += f"The page shows {len(self._kept)}: the unknown ones, then those with the lowest confidence."
        else:
            note += "In each section, photos with the lowest confidence come first."
        return f"{beginning(f'{title}: predictions')}<h1>{escape(title)}</h1><p class='muted'>{note}</p>"


def _heading(record: Record) -> str:
    """The label, or all labels of a multi-label model; empty for an unknown photo."""
    return " + ".join(sorted(record.labels)) if record.labels else record.label or ""


def _figure(record: Record, source: str) -> str:
    label = f"{escape(_heading(record) or record.predictions[0][0])} {escape(percent(record.confidence or 0.0))}"
    if record.looks_like:  # it has no score of its own
        label = f"<span class='muted'>looks like</span> {escape(record.looks_like)}"
    elif record.unknown:
        label = f"<span class='muted'>best</span> {label}"
    else:
        label = f"<b>{label}</b>"
    place = escape("/".join(record.file.split("/")[-2:]))
    return (
        f"<figure><img alt='' loading='lazy' src='{source}'><figcaption title='{escape(record.file)}'>"
        f"{label}<br><span class='muted'>{place}</span></figcaption></figure>"
    )


def _failures(failed: Sequence[Record], count: int) -> str:
    if not count:
        return ""
    items = "".join(f"<li>{escape(one.file)}: {escape(one.failure.detail)}</li>" for one in failed if one.failure)
    more = f"<p class='note'>and {count - len(failed)} more</p>" if count > len(failed) else ""
    return f"<section><h2>{count} files without an answer</h2><ul>{items}</ul>{more}</section>"


def _thumbnail(photo: Photo) -> str:
    data = content(photo)
    return "" if isinstance(data, Failure) else encoded_thumbnail(data, quality=QUALITY)
