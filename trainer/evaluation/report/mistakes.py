"""The parts of the report about mistakes: the worst photos, each class, and parts of the photos."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from trainer.evaluation.metrics import ClassResult, Evaluation, Mistake
from trainer.evaluation.page import percent, thumbnail


def worst(evaluation: Evaluation) -> str:
    """Returns the mistakes with the highest confidence, with their photos."""
    return worst_photos([_mistake(mistake) for mistake in evaluation.worst], "every photo was classified correctly")


def worst_photos(figures: Sequence[str], otherwise: str) -> str:
    """Returns the section of the worst mistakes, or what is true if there are none."""
    if not figures:
        return f"<section><h2>Worst mistakes</h2><p>None: {otherwise}.</p></section>"
    photos = "".join(figures)
    return f"<section><h2>Worst mistakes, most confident first</h2><div class='photos'>{photos}</div></section>"


def _mistake(mistake: Mistake) -> str:
    place = escape(f"{mistake.path.parent.name}/{mistake.path.name}")
    return (
        f"<figure><img alt='' src='{thumbnail(mistake.path)}'><figcaption>"
        f"predicted <b class='said'>{escape(mistake.said)}</b> {escape(percent(mistake.confidence))}<br>"
        f"true <b class='true'>{escape(mistake.true)}</b> {escape(percent(mistake.true_score))}<br>"
        f"<span class='muted'>{place}</span></figcaption></figure>"
    )


def classes(evaluation: Evaluation) -> str:
    """Returns precision, recall and F1 of each class, with its worst mistakes."""
    results = sorted((one for one in evaluation.classes if one.photos), key=lambda one: (one.f1, one.label))
    mistakes: dict[str, list[Mistake]] = defaultdict(list)
    for mistake in evaluation.worst_of_class:
        mistakes[mistake.true].append(mistake)
    rows = "".join(_class_row(one, mistakes[one.label]) for one in results)
    absent = len(evaluation.classes) - len(results)
    note = f"<p class='note'>Classes of the model without photos here: {absent}.</p>" if absent else ""
    return (
        "<section><h2>Classes, lowest F1 first</h2><div class='wide'><table><tr><th>class</th><th>photos</th>"
        f"<th>precision</th><th>recall</th><th>F1</th><th>taken for another class</th></tr>{rows}</table></div>{note}"
        "</section>"
    )


def _class_row(result: ClassResult, mistakes: list[Mistake]) -> str:
    bars = "".join(
        f"<td class='bar' style='--share:{v:.3f}'>{v:.3f}</td>" for v in (result.precision, result.recall, result.f1)
    )
    photos = "".join(
        f"<img alt='{text}' title='{text}' src='{thumbnail(mistake.path, small=True)}'>"
        for mistake in mistakes
        if (text := escape(f"{mistake.said} {percent(mistake.confidence)}: {mistake.path.name}", quote=True))
    )
    return f"<tr><td>{escape(result.label)}</td><td>{result.photos}</td>{bars}<td class='small'>{photos}</td></tr>"


def slices(evaluation: Evaluation) -> str:
    """Returns the accuracy on parts of the photos."""
    if not evaluation.slices:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one.group)}: {escape(one.name)}</td><td>{one.photos}</td>"
        f"<td class='bar' style='--share:{one.accuracy:.3f}'>{one.accuracy:.3f}</td>"
        f"<td>{one.interval[0]:.3f} to {one.interval[1]:.3f}</td>"
        f"<td>{'' if one.unknown is None else f'{one.unknown:.1%}'}</td></tr>"
        for one in evaluation.slices
    )
    return (
        "<section><h2>Parts of the photos</h2><div class='wide'><table><tr><th>part</th><th>photos</th>"
        f"<th>accuracy</th><th>95 % interval</th><th>unknown</th></tr>{rows}</table></div></section>"
    )
