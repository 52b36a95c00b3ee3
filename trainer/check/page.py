"""The findings of a check as a page that stands alone."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from trainer.check.findings import CLASS_PROBLEMS, PROBLEMS, Findings, PhotoFinding
from trainer.evaluation.page import document, thumbnail

SHOWN = 60
"""Photos of each problem with a picture; `check.json` lists all of them."""

STYLE = ".problems th:last-child, .problems td:last-child { text-align: left; }"


def render(findings: Findings) -> str:
    """Returns the page."""
    title = f"Check of {findings.data}"
    sections = [f"<h1>{escape(title)}</h1>", _overview(findings), _classes(findings)]
    sections += [_problem(title, advice, findings.of(problem)) for problem, (title, advice) in PROBLEMS.items()]
    return document(title, "".join(sections), STYLE)


def _overview(findings: Findings) -> str:
    tiles = [(f"{sum(findings.counts.values()):,}", "photos"), (str(len(findings.counts)), "classes")]
    if findings.accuracy is not None:
        tiles.append((f"{findings.accuracy:.1%}", "classified as their labels say, in cross-validation"))
    tiles += [(str(len(photos)), title.lower()) for key, (title, _) in PROBLEMS.items() if (photos := findings.of(key))]
    figures = "".join(f"<div><b>{value}</b><span class='muted'>{escape(name)}</span></div>" for value, name in tiles)
    warnings = "".join(f"<p class='note'>{escape(line)}</p>" for line in findings.warnings)
    nothing = "" if findings.photos or findings.classes else "<p>No problems found.</p>"
    return f"<div class='figures'>{figures}</div>{warnings}{nothing}"


def _classes(findings: Findings) -> str:
    problems: Mapping[str, list[str]] = {label: [] for label in findings.counts}
    for finding in findings.classes:
        for label in finding.labels:
            others = " and ".join(other for other in finding.labels if other != label)
            text = f"{CLASS_PROBLEMS[finding.problem]}{f' to {others}' if others else ''}: {finding.detail}"
            problems[label].append(text)
    largest = max(1, *findings.counts.values())
    rows = "".join(
        f"<tr><td>{escape(label)}</td><td class='bar' style='--share:{count / largest:.3f}'>{count}</td>"
        f"<td>{escape('; '.join(problems[label]))}</td></tr>"
        for label, count in sorted(findings.counts.items(), key=lambda row: (not problems[row[0]], row[0]))
    )
    return (
        "<section><h2>Classes</h2><div class='wide'><table class='problems'><tr><th>class</th><th>photos</th>"
        f"<th>problem</th></tr>{rows}</table></div></section>"
    )


def _problem(title: str, advice: str, photos: list[PhotoFinding]) -> str:
    if not photos:
        return ""
    pictures = "".join(_picture(one) for one in photos[:SHOWN])
    more = f"<p class='note'>{len(photos) - SHOWN} more are in check.json.</p>" if len(photos) > SHOWN else ""
    return (
        f"<section><h2>{escape(title)}: {len(photos)}</h2><p class='note'>{escape(advice)}</p>"
        f"<div class='photos'>{pictures}</div>{more}</section>"
    )


def _picture(finding: PhotoFinding) -> str:
    paths = [finding.photo] if finding.other is None else [finding.photo, finding.other]
    images = "".join(_image(path) for path in paths)
    label = f"<b class='said'>{escape(finding.label)}</b>"
    if finding.suggested is not None:
        label += f", probably <b class='true'>{escape(finding.suggested)}</b>"
    places = "<br>".join(escape(f"{path.parent.name}/{path.name}") for path in paths)
    return (
        f"<figure><div class='beside'>{images}</div><figcaption>{label}<br>{escape(finding.detail)}<br>"
        f"<span class='muted'>{places}</span></figcaption></figure>"
    )


def _image(path: Path) -> str:
    data = thumbnail(path)
    return f"<img alt='' src='{data}'>" if data else ""
