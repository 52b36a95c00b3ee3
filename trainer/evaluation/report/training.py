"""The parts of the report about the training: curves, and what repeats the run."""

import json
from collections.abc import Sequence
from html import escape
from typing import cast

from trainer.evaluation import plots
from trainer.evaluation.learning_curve import at_twice
from trainer.evaluation.metrics import Evaluation
from trainer.evaluation.multi_label_evaluation import MultiLabelEvaluation
from trainer.evaluation.report.run import History, Run
from trainer.model_card import Card


def curves(card: Card, run: Run) -> str:
    """Returns the metrics by epoch, and the accuracy by number of photos."""
    sections = [*_epochs(run.history), *_learning_curve(card)]
    return f"<div class='row'>{''.join(sections)}</div>" if sections else ""


def _epochs(history: History) -> list[str]:
    epochs = [epoch for stage in history.values() for epoch in stage]
    if not epochs:
        return []
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
    return pictures


def _learning_curve(card: Card) -> list[str]:
    figure = "mean_average_precision" if card.multi_label else "accuracy"
    points = [
        (int(one["photos"]), int(one["tested"]), float(one[figure]))
        for one in cast("Sequence[dict[str, float]]", card.training.get("learning_curve", ()))
    ]
    if not points:
        return []
    twice, name = at_twice(points), figure.replace("_", " ")
    text = f"Cross-validated {name} of heads on the same features, by number of photos: {points[-1][2]:.3f} with all."
    if twice is not None:
        text += f" Twice the photos would give about {twice:.3f}."
    expected = None if twice is None else (2 * points[-1][0], twice)
    picture = plots.learning_curve([(photos, score) for photos, _, score in points], expected, name)
    return [f"<section><h2>Learning curve</h2>{picture}<p class='note'>{text}</p></section>"]


def repeat(evaluation: Evaluation | MultiLabelEvaluation, run: Run) -> str:
    """Returns settings, photos and versions of the run."""
    card = evaluation.card
    libraries = ", ".join(f"{name} {version}" for name, version in card.libraries.items())
    rows = [("libraries", libraries), ("precision", card.precision), ("model", str(evaluation.model))]
    fingerprint = card.training.get("fingerprint")
    if fingerprint is not None:
        rows.append(("fingerprint of the photos", str(fingerprint)))
    counts = cast("dict[str, dict[str, int]]", card.training.get("photos", {}))
    # With several labels, a photo counts for each of them.
    if counts and not card.multi_label and all(isinstance(one, dict) for one in counts.values()):
        rows += [(f"photos, {split}", str(sum(one.values()))) for split, one in counts.items()]
    table = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows if value)
    settings = run.config or json.dumps(card.training.get("settings", {}), indent=1)
    command = (
        "<p class='note'>To repeat the run, save these settings as config.toml, set <code>data</code> to the folder of "
        "photos, and run <code>breed train --config config.toml</code>. The same photos have the same fingerprint.</p>"
        if run.config
        else ""
    )
    return (
        f"<section><h2>Repeat the run</h2><table class='words'>{table}</table>{command}"
        f"<details open><summary>Settings</summary><pre>{escape(settings)}</pre></details></section>"
    )
