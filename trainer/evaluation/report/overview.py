"""The head of the report: what was evaluated, and the most important figures."""

from collections.abc import Sequence
from html import escape
from typing import cast

from trainer.evaluation.metrics import Evaluation
from trainer.evaluation.multi_label_evaluation import MultiLabelEvaluation
from trainer.model_card import Card


def head(evaluation: Evaluation | MultiLabelEvaluation) -> str:
    """Returns the title, and what was evaluated."""
    card, version = evaluation.card, escape(evaluation.model.name)
    facts = {"backbone": card.backbone.name, "weights": card.backbone.weights, "exported": card.created}
    made = ", ".join(f"{name} {escape(value)}" for name, value in facts.items() if value)
    made = f" {made[0].upper()}{made[1:]}." if made else ""
    through = f"with the signature <code>{evaluation.signature}</code> of the exported model"
    if evaluation.signature == "gateway":
        through = "through a gateway"
    return (
        f"<h1>{escape(card.name)} <span class='muted'>version {version}</span></h1><p>{escape(card.description)}</p>"
        f"<p class='note'>Evaluated on {evaluation.photos} photos of {escape(evaluation.data)}, {through}."
        f"{made}{_threshold(card)}</p>"
    )


def _threshold(card: Card) -> str:
    if card.unknown_threshold is None:
        return ""
    rule = f": {escape(card.unknown_rule)}" if card.unknown_rule else ""
    score = "sum of scores" if card.other_labels else "best score"
    return f" A photo is unknown if its {score} is below {card.unknown_threshold:g}{rule}."


def figures(evaluation: Evaluation) -> str:
    """Returns the figures with their intervals, and how certain they are."""
    values = [
        ("accuracy", f"{evaluation.accuracy:.1%}", "accuracy"),
        (f"top-{min(5, len(evaluation.card.labels))} accuracy", f"{evaluation.top5_accuracy:.1%}", "top5_accuracy"),
        ("macro F1", f"{evaluation.macro_f1:.3f}", "macro_f1"),
        (
            "expected calibration error",
            f"{evaluation.reliability.expected_calibration_error:.3f}",
            "",
        ),
    ]
    if evaluation.threshold_rate is not None:
        name = f"unknown: below the threshold {evaluation.card.unknown_threshold:g}"
        values.append((name, f"{evaluation.threshold_rate:.1%}", "under_threshold"))
    if evaluation.unknown:
        values.append(("AUROC for other things", f"{evaluation.unknown.auroc:.3f}", "auroc"))
    tiles = (
        f"<div><b>{value}</b><span class='muted'>{escape(name)}{interval(evaluation, key)}</span></div>"
        for name, value, key in values
    )
    return f"<div class='figures'>{''.join(tiles)}</div>{_certainty(evaluation.card)}"


def interval(evaluation: Evaluation | MultiLabelEvaluation, key: str) -> str:
    """Returns the 95 % interval of a figure; an empty string if it has none."""
    if key not in evaluation.intervals:
        return ""
    low, high = evaluation.intervals[key]
    return f"<br><small>95 % interval {low:.3f} to {high:.3f}</small>"


def _certainty(card: Card) -> str:
    """The results of the cross-validation in the card, and a warning about the validation photos."""
    metrics = card.metrics.get("cross-validation")
    lines = []
    if metrics is not None:
        low, high = cast("Sequence[float]", metrics["accuracy_interval"])
        lines.append(
            f"Cross-validation on {metrics['photos']} training photos, in {metrics['folds']} folds: accuracy "
            f"{metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}; standard deviation of the folds "
            f"{metrics['standard_deviation']:.3f})."
        )
    elif "validation" in card.metrics:
        choices = ["epochs"] if card.training.get("settings") else []  # not for a published .keras file
        choices += ["temperature", "threshold", *(["label sets"] if card.label_sets else [])]
        decided = f"{', '.join(choices[:-1])} and {choices[-1]}"
        lines.append(f"The validation photos of this model also decided on {decided}: figures on them are optimistic.")
    if card.unknown_rates:
        rates = card.unknown_rates
        lines.append(
            f"Unknown: of {rates['known_photos']} photos in cross-validation, {rates['known_called_unknown']:.1%} are "
            f"called unknown. Of {rates['left_out_photos']} photos of classes that were left out of training in turn, "
            f"{rates['left_out_taken_for_known']:.1%} are taken for another class (AUROC {rates['auroc']:.3f})."
        )
    return "".join(f"<p class='note'>{line}</p>" for line in lines)
