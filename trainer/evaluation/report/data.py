"""The parts of the report about the photos: those left out, and those whose label is probably wrong."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from trainer.evaluation.page import thumbnail

SHOWN = 12
"""Photos with a probably wrong label that are shown, and lines of each list."""


def problems(data: Mapping[str, Any]) -> str:
    """Returns what `train` found in the photos; `data` is the content of data.json."""
    lists = [
        _lines(title, data.get(key, ()))
        for key, title in (
            ("warnings", "warnings"),
            ("unreadable", "files that cannot be read"),
            ("duplicates", "copies of other photos, left out"),
        )
    ]
    body = _wrong_labels(data.get("label_errors", ())) + "".join(lists)
    if not body:
        return ""
    note = "<p class='note'><code>breed check</code> shows all problems of the photos.</p>"
    return f"<section><h2>Photos of the training</h2>{body}{note}</section>"


def _wrong_labels(errors: Sequence[Mapping[str, Any]]) -> str:
    if not errors:
        return ""
    figures = "".join(
        f"<figure><img alt='' src='{thumbnail(Path(one['photo']))}'><figcaption><b class='said'>{escape(one['label'])}"
        f"</b>, probably <b class='true'>{escape(one['suggested'])}</b><br><span class='muted'>"
        f"{escape(Path(one['photo']).name)}</span></figcaption></figure>"
        for one in errors[:SHOWN]
    )
    many = (
        f"{len(errors)} labels are probably wrong, most certain first"
        if len(errors) > 1
        else "A label is probably wrong"
    )
    return f"<p>{many}:</p><div class='photos'>{figures}</div>"


def _lines(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:SHOWN])
    more = f"<li>and {len(lines) - SHOWN} more, in data.json</li>" if len(lines) > SHOWN else ""
    return f"<p>{len(lines)} {title}:</p><ul>{items}{more}</ul>"


def unreadable(lines: Sequence[str]) -> str:
    """Returns the evaluated files that cannot be read."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{len(lines)} files that cannot be read</h2><ul>{items}</ul></section>"
