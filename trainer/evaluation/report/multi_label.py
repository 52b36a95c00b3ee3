"""The report of a multi-label model: figures, every label with its scores, and the worst mistakes."""

from collections.abc import Sequence
from html import escape

from trainer.evaluation import plots
from trainer.evaluation.multi_label_evaluation import LabelResult, LabelsMistake, MultiLabelEvaluation
from trainer.evaluation.page import percent, thumbnail
from trainer.evaluation.report.mistakes import worst_photos
from trainer.evaluation.report.overview import interval

HISTOGRAMS = 12
"""Labels whose scores are drawn, those with the lowest average precision first."""


def figures(evaluation: MultiLabelEvaluation) -> str:
    """Returns the figures, and how the thresholds were chosen."""
    values = [
        ("mean average precision", f"{evaluation.mean_average_precision:.3f}", "mean_average_precision"),
        ("micro F1", f"{evaluation.micro_f1:.3f}", ""),
        ("photos with exactly the right labels", f"{evaluation.exact_labels:.1%}", "exact_labels"),
        ("photos without a label in the answer", f"{evaluation.without_labels:.1%}", ""),
    ]
    if evaluation.others_labelled is not None:
        values.append(
            (f"of {evaluation.others} photos of other things get a label", f"{evaluation.others_labelled:.1%}", "")
        )
    tiles = (
        f"<div><b>{value}</b><span class='muted'>{escape(name)}{interval(evaluation, key)}</span></div>"
        for name, value, key in values
    )
    rule = evaluation.card.unknown_rule
    note = (
        f"<p class='note'>A photo has every label whose score reaches its threshold: {escape(rule)}.</p>"
        if rule
        else ""
    )
    return f"<div class='figures'>{''.join(tiles)}</div>{note}"


def labels(evaluation: MultiLabelEvaluation) -> str:
    """Returns a table of the labels, and the scores of photos with and without each."""
    order = sorted(evaluation.labels, key=lambda one: (_precision(one), one.label))
    rows = "".join(_row(one) for one in order)
    pictures = "".join(
        f"<section><h2>{escape(one.label)}</h2>{_scores(one)}</section>" for one in order[:HISTOGRAMS] if one.photos
    )
    return (
        "<section><h2>Labels, lowest average precision first</h2><div class='wide'><table><tr><th>label</th>"
        "<th>photos</th><th>average precision</th><th>threshold</th><th>precision</th><th>recall</th><th>F1</th></tr>"
        f"{rows}</table></div><p class='note'>The average precision does not depend on the threshold. Precision, "
        f"recall and F1 are those at the threshold.</p></section><div class='row'>{pictures}</div>"
    )


def _precision(result: LabelResult) -> float:
    return 2.0 if result.average_precision is None else result.average_precision


def _row(result: LabelResult) -> str:
    def bar(value: float | None) -> str:
        return "<td></td>" if value is None else f"<td class='bar' style='--share:{value:.3f}'>{value:.3f}</td>"

    bars = bar(result.precision), bar(result.recall), bar(result.f1)
    return (
        f"<tr><td>{escape(result.label)}</td><td>{result.photos}</td>{bar(result.average_precision)}"
        f"<td>{result.threshold:.3f}</td>{''.join(bars)}</tr>"
    )


def _scores(result: LabelResult) -> str:
    return plots.score_histogram(
        result.with_label, result.without_label, result.threshold, ("photos with the label", "other photos")
    )


def worst(evaluation: MultiLabelEvaluation) -> str:
    """Returns photos that do not get exactly their labels, with what is missing and what is wrong."""
    return worst_photos([_figure(one) for one in evaluation.worst], "every photo got exactly its labels")


def _figure(mistake: LabelsMistake) -> str:
    lines = [f"has {escape(', '.join(mistake.true) or 'no label')}"]
    if mistake.wrong:
        lines.append(f"wrong: <b class='said'>{_scored(mistake.wrong)}</b>")
    if mistake.missing:
        lines.append(f"missing: <b class='true'>{_scored(mistake.missing)}</b>")
    lines.append(f"<span class='muted'>{escape(mistake.path.name)}</span>")
    return f"<figure><img alt='' src='{thumbnail(mistake.path)}'><figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _scored(labels: Sequence[tuple[str, float]]) -> str:
    return escape(", ".join(f"{label} {percent(score)}" for label, score in labels))
