"""The page of a comparison: self-contained HTML in the style of the report of an evaluation."""

from collections.abc import Sequence
from html import escape
from typing import Final

from trainer.evaluation import calibrate, plots
from trainer.evaluation.comparison import SIGNIFICANT, Comparison, Group, Prediction, Row, Version
from trainer.evaluation.intervals import Paired, wilson_interval
from trainer.evaluation.page import document, percent, thumbnail

PAIRS_SHOWN: Final = 24
"""Number of photos that flipped, of each kind, that are shown as pictures; `comparison.json` lists all."""

MORE_STYLE: Final = """
.better { color: var(--good); } .worse { color: var(--bad); } .verdict { font-size: 17px; margin: 14px 0 0; }
td.change { white-space: nowrap; }
th.change { padding-right: 160px; }  /* above the number, not above its bar */
.bars { display: inline-grid; grid-template-columns: 70px 70px; width: 140px; height: 10px; margin-left: 10px;
  vertical-align: middle; background: linear-gradient(var(--muted) 0 0) 50% 0 / 1px 100% no-repeat; }
.bars i { height: 10px; width: calc(var(--share) * 100%); }
.bars .down { background: var(--bad); justify-self: end; } .bars .up { background: var(--good); grid-column: 2; }
"""


def render(comparison: Comparison) -> str:
    """Returns the page: verdict, versions, classes, slices, reliability, photos that flipped, unreadable files."""
    sections = [
        _head(comparison),
        _figures(comparison),
        _versions(comparison),
        _groups("Classes, largest loss first", "class", comparison.classes),
        *(_groups(f"Slices: {name}", name, groups) for name, groups in comparison.slices.items()),
        _reliability(comparison),
        _flipped("Worse: A was right, B is wrong", comparison.flipped(better=False)),
        _flipped("Better: A was wrong, B is right", comparison.flipped(better=True)),
        _unreadable(comparison.unreadable),
    ]
    return document(f"{comparison.a.title} and {comparison.b.title}: comparison", "".join(sections), MORE_STYLE)


def _head(comparison: Comparison) -> str:
    return (
        f"<h1>A: {escape(comparison.a.title)} <span class='muted'>and</span> B: {escape(comparison.b.title)}</h1>"
        f"<p class='verdict'>{escape(comparison.verdict())}</p>"
        f"<p class='note'>Compared on {comparison.right.photos} photos of {escape(', '.join(comparison.data))}, with "
        "the signature <code>pixels</code> of the exported models. Intervals contain the true value in 95 of 100 "
        "cases. Photos of a class that a version does not have count as wrong, except in the sentence above.</p>"
    )


def _figures(comparison: Comparison) -> str:
    differ, photos = comparison.disagreement
    low, high = wilson_interval(differ, photos)
    tiles = [
        (
            _points(comparison.right.difference),
            "percentage points: accuracy of B minus that of A",
            _interval(comparison.right),
        ),
        (f"{comparison.right.better}", "photos that only B has right", ""),
        (
            f"{comparison.right.worse}",
            "photos that only A has right",
            f"McNemar's exact test: p = {comparison.right.p_value():.2g}",
        ),
        (f"{differ / photos:.1%}", "photos with different best labels", f"95 % interval {low:.1%} to {high:.1%}"),
    ]
    return "<div class='figures'>" + "".join(
        f"<div><b>{value}</b><span class='muted'>{name}{f'<br><small>{note}</small>' if note else ''}</span></div>"
        for value, name, note in tiles
    ) + "</div>"  # fmt: skip


def _points(difference: float) -> str:
    """A difference of two shares in percentage points: it is no percentage of anything."""
    return f"{100 * difference:+.1f}"


def _interval(right: Paired) -> str:
    low, high = right.interval()
    return f"95 % interval {_points(low)} to {_points(high)}"


def _versions(comparison: Comparison) -> str:
    a, b = comparison.a, comparison.b
    change, interval = comparison.calibration_change
    errors = [one.expected_calibration_error for one in comparison.reliability]
    rows = [
        ("accuracy", *_shares(comparison.right), _change(comparison.right)),
        (
            "accuracy on classes that both have",
            *_shares(comparison.right_on_common),
            _change(comparison.right_on_common),
        ),
        ("known photos that are called known", *_shares(comparison.known), _change(comparison.known)),
    ]
    if comparison.others:
        rows.append(
            ("photos of other things that are called unknown", *_shares(comparison.others_unknown),
             _change(comparison.others_unknown))
        )  # fmt: skip
    rows += [
        ("expected calibration error", f"{errors[0]:.3f}", f"{errors[1]:.3f}",
         f"{change:+.3f} <small>({interval[0]:+.3f} to {interval[1]:+.3f})</small>"),
        ("classes", str(len(a.card.labels)), str(len(b.card.labels)), _new_classes(a, b)),
        ("size of the files", f"{a.bytes / 1e6:.1f} MB", f"{b.bytes / 1e6:.1f} MB", f"{b.bytes / a.bytes - 1:+.0%}"),
    ]  # fmt: skip
    if a.speed and b.speed:
        for name, first, second in (
            ("time of a call with one photo", a.speed.one_ms, b.speed.one_ms),
            (f"time of a photo in calls with {a.speed.batch_size}", a.speed.batch_ms, b.speed.batch_ms),
        ):
            rows.append((name, f"{first:.1f} ms", f"{second:.1f} ms", f"{second / first - 1:+.0%}"))
    rows += [
        ("backbone", escape(a.card.backbone.name), escape(b.card.backbone.name), ""),
        ("precision", escape(a.card.precision), escape(b.card.precision), ""),
        ("created", escape(a.card.created[:10]), escape(b.card.created[:10]), ""),
    ]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        "<section><h2>Versions</h2><div class='wide'><table><tr><th></th><th>A</th><th>B</th><th>difference</th></tr>"
        f"{body}</table></div></section>"
    )


def _shares(right: Paired) -> tuple[str, str]:
    if not right.photos:
        return "no photos", "no photos"
    intervals = [wilson_interval(right.both + only, right.photos) for only in (right.worse, right.better)]
    a, b = (
        f"{share:.1%} <small>({low:.1%} to {high:.1%})</small>"
        for share, (low, high) in zip((right.first, right.second), intervals, strict=True)
    )
    return a, b


def _change(right: Paired) -> str:
    if not right.photos:
        return ""
    low, high = map(_points, right.interval())
    return f"{_points(right.difference)} points <small>({low} to {high}; p = {right.p_value():.2g})</small>"


def _new_classes(a: Version, b: Version) -> str:
    new = [label for label in b.card.labels if label not in a.card.labels]
    gone = [label for label in a.card.labels if label not in b.card.labels]
    changes = [f"{word}: {escape(', '.join(labels))}" for word, labels in (("new", new), ("gone", gone)) if labels]
    return "; ".join(changes) or "the same"


def _groups(title: str, name: str, groups: Sequence[Group]) -> str:
    rows = "".join(_group(group) for group in groups)
    return (
        f"<section><h2>{escape(title)}</h2><div class='wide'><table><tr><th>{escape(name)}</th><th>photos</th>"
        "<th>A</th><th>B</th><th>better</th><th>worse</th><th class='change'>B minus A, points</th><th>p</th></tr>"
        f"{rows}</table></div><p class='note'>Better and worse: photos that only B or only A has right. Points: "
        "percentage points of accuracy. p: McNemar's exact test, for each row alone; among many rows, a few "
        "below 0.05 are chance.</p></section>"
    )


def _group(group: Group) -> str:
    right, p = group.right, group.right.p_value()
    note = "" if group.knows == "both" else f" <small class='muted'>only in {group.knows}</small>"
    tone = "" if not right.difference else "better" if right.difference > 0 else "worse"
    points = _points(right.difference) if right.difference else "0"
    change = min(1.0, abs(right.difference))
    bar = f"<i class='{'up' if right.difference > 0 else 'down'}' style='--share:{change:.3f}'></i>" if change else ""
    strong = ("<b>", "</b>") if p < SIGNIFICANT else ("", "")
    return (
        f"<tr><td>{escape(group.name)}{note}</td><td>{right.photos}</td><td>{right.first:.1%}</td>"
        f"<td>{right.second:.1%}</td><td>{right.better}</td><td>{right.worse}</td>"
        f"<td class='change'><span class='{tone}'>{points}</span><span class='bars'>{bar}</span></td>"
        f"<td>{strong[0]}{p:.2g}{strong[1]}</td></tr>"
    )


def _reliability(comparison: Comparison) -> str:
    sections = []
    for name, version, reliability in zip("AB", (comparison.a, comparison.b), comparison.reliability, strict=True):
        diagram = plots.reliability_diagram(reliability.filled(), calibrate.BINS)
        sections.append(
            f"<section><h2>Reliability of {name}: {escape(version.title)}</h2>{diagram}<p class='note'>Accuracy by "
            f"confidence. On the dashed line, both are equal; darker bars have more photos. Temperature "
            f"{version.card.temperature:.3g}.</p></section>"
        )
    return f"<div class='row'>{''.join(sections)}</div>"


def _flipped(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"<section><h2>{escape(title)}</h2><p>None.</p></section>"
    figures = "".join(_pair(row) for row in rows[:PAIRS_SHOWN])
    more = len(rows) - PAIRS_SHOWN
    note = f"<p class='note'>{more} more are in comparison.json.</p>" if more > 0 else ""
    return f"<section><h2>{escape(title)}</h2><div class='photos'>{figures}</div>{note}</section>"


def _pair(row: Row) -> str:
    place = escape(f"{row.path.parent.name}/{row.path.name}")
    lines = "<br>".join(
        f"{name}: <b class='{'true' if right else 'said'}'>{escape(prediction.label)}</b> "
        f"{escape(percent(prediction.score))}{_unknown(prediction)}"
        for name, prediction, right in zip("AB", (row.a, row.b), row.right, strict=True)
    )
    return (
        f"<figure><img alt='' src='{thumbnail(row.path)}'><figcaption>{lines}<br>true: {escape(row.true)}<br>"
        f"<span class='muted'>{place}</span></figcaption></figure>"
    )


def _unknown(prediction: Prediction) -> str:
    return "" if prediction.known else " <span class='muted'>(unknown)</span>"


def _unreadable(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{len(lines)} files that cannot be read</h2><ul>{items}</ul></section>"
