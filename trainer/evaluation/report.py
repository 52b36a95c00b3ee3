"""The report of an evaluation: a self-contained HTML page."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import cast

import numpy as np

from trainer.errors import TrainerError
from trainer.evaluation import calibrate, plots
from trainer.evaluation.metrics import ClassResult, Evaluation, Mistake
from trainer.evaluation.page import document, thumbnail
from trainer.model_card import Card

HISTORY = Path("assets.extra/history.json")
"""File in a SavedModel of `train` with the metrics of each epoch, by stage."""

CONFUSED_PAIRS = 12
LARGE = 16
"""Number of classes above which the confusion matrix takes the full width."""

History = Mapping[str, Sequence[Mapping[str, float]]]


def read_history(model: Path) -> History:
    """Reads the epochs that `train` left in a SavedModel's directory, per stage; empty when there are none.

    Raises:
        TrainerError: The file is damaged.
    """
    path = model / HISTORY
    if not path.exists():
        return {}
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(stage): [{str(name): float(value) for name, value in epoch.items()} for epoch in epochs]
            for stage, epochs in stages.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TrainerError(f"{path} is corrupt: {error}") from error


def render(evaluation: Evaluation, history: History) -> str:
    """Returns the page: metrics, curves, confusion matrix, reliability, worst mistakes, classes, unreadable files."""
    parts = [
        _head(evaluation),
        _figures(evaluation),
        _training(history),
        _confusion(evaluation),
        "<div class='row'>",
        _reliability(evaluation),
        _unknown(evaluation),
        "</div>",
        _mistakes(evaluation),
        _classes(evaluation),
        _unreadable(evaluation.unreadable),
    ]
    return document(f"{evaluation.card.name} {evaluation.model.name}: evaluation", "".join(parts))


def _head(evaluation: Evaluation) -> str:
    card, version = evaluation.card, escape(evaluation.model.name)
    name, backbone, weights = escape(card.name), escape(card.backbone.name), escape(card.backbone.weights)
    return (
        f"<h1>{name} <span class='muted'>version {version}</span></h1><p>{escape(card.description)}</p>"
        f"<p class='note'>Evaluated on {evaluation.photos} photos of {escape(evaluation.data)}, with the signature "
        f"<code>{evaluation.signature}</code> of the exported model. Backbone {backbone}, weights {weights}, "
        f"exported {escape(card.created)}.{_threshold(card)}</p>"
    )


def _threshold(card: Card) -> str:
    if card.unknown_threshold is None:
        return ""
    rule = f": {escape(card.unknown_rule)}" if card.unknown_rule else ""
    score = "sum of scores" if card.other_labels else "best score"
    return f" A {score} below {card.unknown_threshold:g} counts as unknown{rule}."


def _figures(evaluation: Evaluation) -> str:
    figures = [
        ("accuracy", f"{evaluation.accuracy:.1%}", "accuracy"),
        (f"top-{min(5, len(evaluation.card.labels))} accuracy", f"{evaluation.top5_accuracy:.1%}", "top5_accuracy"),
        ("macro F1", f"{evaluation.macro_f1:.3f}", "macro_f1"),
        (
            "expected calibration error",
            f"{evaluation.reliability.expected_calibration_error:.3f}",
            "expected_calibration_error",
        ),
    ]
    if evaluation.threshold_rate is not None:
        figures.append(
            (f"below the threshold {evaluation.card.unknown_threshold:g}", f"{evaluation.threshold_rate:.1%}", "")
        )
    if evaluation.unknown:
        figures.append(("AUROC for other things", f"{evaluation.unknown.auroc:.3f}", "auroc"))
    tiles = (
        f"<div><b>{value}</b><span class='muted'>{escape(name)}{_interval(evaluation, key)}</span></div>"
        for name, value, key in figures
    )
    return f"<div class='figures'>{''.join(tiles)}</div>{_certainty(evaluation.card)}"


def _interval(evaluation: Evaluation, key: str) -> str:
    if key not in evaluation.intervals:
        return ""
    low, high = evaluation.intervals[key]
    return f"<br><small>95 % interval {low:.3f} to {high:.3f}</small>"


def _certainty(card: Card) -> str:
    """What the card says of photos that the model was not fitted on."""
    found = card.metrics.get("cross-validation")
    lines = []
    if found is not None:
        low, high = cast("Sequence[float]", found["accuracy_interval"])
        lines.append(
            f"Cross-validation on {found['photos']} training photos, in {found['folds']} folds: accuracy "
            f"{found['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}; standard deviation of the folds "
            f"{found['standard_deviation']:.3f})."
        )
    elif "validation" in card.metrics:
        lines.append(
            "The validation photos of this model also decided on epochs, temperature and threshold: figures on them "
            "are optimistic."
        )
    if card.unknown_rates:
        rates = card.unknown_rates
        lines.append(
            f"Unknown: of {rates['known_photos']} photos in cross-validation, {rates['known_called_unknown']:.1%} are "
            f"called unknown. Of {rates['left_out_photos']} photos of classes that were left out of training in turn, "
            f"{rates['left_out_taken_for_known']:.1%} are taken for another class (AUROC {rates['auroc']:.3f})."
        )
    return "".join(f"<p class='note'>{line}</p>" for line in lines)


def _training(history: History) -> str:
    epochs = [epoch for stage in history.values() for epoch in stage]
    if not epochs:
        return ""
    borders, begins = {}, 0
    for stage, figures in history.items():
        borders[stage] = begins
        begins += len(figures)
    pictures = []
    for title, figure in (("Accuracy", "accuracy"), ("Loss", "loss")):
        lines = [
            (name, colour, [epoch[key] for epoch in epochs])
            for name, key, colour in (
                ("training", figure, "var(--muted)"),
                ("validation", f"val_{figure}", "var(--accent)"),
            )
            if all(key in epoch for epoch in epochs)
        ]
        if lines:
            pictures.append(f"<section><h2>{title}</h2>{plots.curves(title, lines, borders)}</section>")
    return f"<div class='row'>{''.join(pictures)}</div>"


def _confusion(evaluation: Evaluation) -> str:
    labels = evaluation.card.labels
    off = evaluation.confusion.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(off, axis=None, kind="stable")[::-1][:CONFUSED_PAIRS]
    pairs = [(at // len(labels), at % len(labels)) for at in order.tolist() if off.flat[at]]
    rows = "".join(
        f"<tr><td>{escape(labels[true])}</td><td>{escape(labels[said])}</td><td>{off[true, said]}</td></tr>"
        for true, said in pairs
    )
    table = (
        f"<table class='words'><tr><th>true</th><th>predicted</th><th>photos</th></tr>{rows}</table>" if rows else ""
    )
    matrix = plots.confusion_matrix(evaluation.confusion, labels)
    note = "Rows are true classes, columns are predicted classes; opacity is the share of the row. Hover for numbers."
    large = len(labels) > LARGE
    return (
        f"<div class='{'stack' if large else 'row'}'>"
        f"<section class='{'broad' if large else 'matrix'}'><h2>Confusion matrix</h2><p class='note'>{note}</p>"
        f"<div class='wide'>{matrix}</div></section>"
        + (f"<section class='pairs'><h2>Most confused</h2>{table}</section>" if table else "")
        + "</div>"
    )


def _reliability(evaluation: Evaluation) -> str:
    diagram = plots.reliability_diagram(evaluation.reliability.filled(), calibrate.BINS)
    return (
        f"<section><h2>Reliability</h2>{diagram}<p class='note'>Accuracy by confidence. On the dashed line, both "
        "are equal; darker bars have more photos. Temperature "
        f"{evaluation.card.temperature:.3g}.</p></section>"
    )


def _unknown(evaluation: Evaluation) -> str:
    unknown = evaluation.unknown
    if unknown is None:
        return ""
    threshold = evaluation.card.unknown_threshold
    picture = plots.score_histogram(unknown.known_counts, unknown.unknown_counts, threshold)
    text = f"AUROC {unknown.auroc:.3f} on {unknown.photos} photos of other things."
    if unknown.false_unknown_rate is not None and unknown.false_known_rate is not None:
        text += (
            f" At the threshold {threshold:g} (dashed), {unknown.false_unknown_rate:.1%} of the known photos are "
            f"classified as unknown, and {unknown.false_known_rate:.1%} of the other things as known."
        )
    return f"<section><h2>Known and unknown</h2>{picture}<p class='note'>{text}</p></section>"


def _mistakes(evaluation: Evaluation) -> str:
    if not evaluation.worst:
        return "<section><h2>Worst mistakes</h2><p>None: every photo was classified correctly.</p></section>"
    figures = "".join(_mistake(mistake) for mistake in evaluation.worst)
    return f"<section><h2>Worst mistakes, most confident first</h2><div class='photos'>{figures}</div></section>"


def _mistake(mistake: Mistake) -> str:
    place = escape(f"{mistake.path.parent.name}/{mistake.path.name}")
    return (
        f"<figure><img alt='' src='{thumbnail(mistake.path)}'><figcaption>"
        f"predicted <b class='said'>{escape(mistake.said)}</b> {mistake.confidence:.0%}<br>"
        f"true <b class='true'>{escape(mistake.true)}</b> {mistake.true_score:.0%}<br>"
        f"<span class='muted'>{place}</span></figcaption></figure>"
    )


def _classes(evaluation: Evaluation) -> str:
    shown = sorted((one for one in evaluation.classes if one.photos), key=lambda one: (one.f1, one.label))
    rows = "".join(_class_row(one) for one in shown)
    absent = len(evaluation.classes) - len(shown)
    note = f"<p class='note'>{absent} classes of the model have no photos here.</p>" if absent else ""
    return (
        "<section><h2>Classes, lowest F1 first</h2><div class='wide'><table><tr><th>class</th><th>photos</th>"
        f"<th>precision</th><th>recall</th><th>F1</th></tr>{rows}</table></div>{note}</section>"
    )


def _class_row(one: ClassResult) -> str:
    bars = "".join(f"<td class='bar' style='--share:{v:.3f}'>{v:.3f}</td>" for v in (one.precision, one.recall, one.f1))
    return f"<tr><td>{escape(one.label)}</td><td>{one.photos}</td>{bars}</tr>"


def _unreadable(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{len(lines)} files that cannot be read</h2><ul>{items}</ul></section>"
