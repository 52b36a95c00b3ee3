"""The part of the report about classes that are taken for each other."""

from html import escape

import numpy as np

from trainer.evaluation import plots
from trainer.evaluation.metrics import Evaluation

CONFUSED_PAIRS = 12
LARGE = 16
"""Number of classes above which the confusion matrix takes the full width."""


def section(evaluation: Evaluation) -> str:
    """Returns the confusion matrix and the most confused pairs."""
    labels = evaluation.card.labels
    off = evaluation.confusion.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(off, axis=None, kind="stable")[::-1][:CONFUSED_PAIRS]
    pairs = [(at // len(labels), at % len(labels)) for at in order.tolist() if off.flat[at]]
    rows = "".join(
        f"<tr><td>{escape(labels[true])}</td><td>{escape(labels[predicted])}</td><td>{off[true, predicted]}</td></tr>"
        for true, predicted in pairs
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
