"""Describe a trained model: its card, its figures as text, and warnings about the figures."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from trainer.config import Config
from trainer.data.data_set import DataSet
from trainer.data.splits import Split
from trainer.evaluation import calibrate, multi_label
from trainer.evaluation.baseline import baseline
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.multi_label import MultiLabelCalibration
from trainer.model_card import JSON, MULTI_LABEL, Card
from trainer.network.backbone_names import without_folder
from trainer.network.origin import origin
from trainer.network.weights import weights_source

if TYPE_CHECKING:
    from trainer.training.stages import Fitted

SPLIT_NAMES: Final[Mapping[Split, str]] = {"train": "train", "valid": "validation", "test": "test"}
"""Names of the splits in cards and messages."""


def describe(config: Config, data: DataSet, fitted: "Fitted") -> Card:
    """Returns the card of a fitted model: its training photos, its calibration and its metrics."""
    calibration, cross_validation = fitted.calibration, fitted.cross_validation
    photos = {SPLIT_NAMES[split]: counts for split, counts in data.counts().items()}
    metrics = {
        SPLIT_NAMES[split]: _figures(calibration, logits, _truth(data, split, calibration), data.labels)
        for split, logits in fitted.logits.items()
    }
    if cross_validation is not None:
        metrics["cross-validation"] = _figures(
            calibration, _as_output(cross_validation.logits, config), cross_validation.labels, data.labels
        ) | {
            "folds": len(cross_validation.fold_scores),
            "standard_deviation": round(float(np.std(cross_validation.fold_scores)), 4),
        }
    source = weights_source(config.weights)
    names = tuple(Path(one).name for one in config.add)
    public = dataclasses.replace(
        config, data=Path(config.data).name, add=names, backbone=without_folder(config.backbone), weights=source
    )
    settings = dataclasses.asdict(public)
    card = Card(
        name=config.name,
        labels=data.labels,
        input=fitted.spec,
        backbone=origin(config.backbone, config.weights),
        noun=config.noun or None,
        description=config.description or _description(data, calibration),
        training={
            "photos": photos,
            **_added(data),
            "fingerprint": data.fingerprint,
            **_learning_curve(fitted, config),
            "settings": settings,
        },
        metrics=metrics,
    )
    if isinstance(calibration, MultiLabelCalibration):
        card = dataclasses.replace(
            card,
            task=MULTI_LABEL,
            thresholds=calibration.thresholds,
            temperature=calibration.temperature,
            unknown_rule=calibration.rule,
        )
    else:
        card = calibration.on(card)
    unseen = fitted.logits["valid"] if cross_validation is None else _as_output(cross_validation.logits, config)
    return dataclasses.replace(card, baseline=baseline(card, calibration.probabilities(unseen)))


def _description(data: DataSet, calibration: Calibration | MultiLabelCalibration) -> str:
    if isinstance(calibration, MultiLabelCalibration):
        return f"Says which of {len(data.labels)} labels a photo has, which may be several or none."
    return f"Tells {len(data.labels)} classes apart, trained on photos of each."


def _added(data: DataSet) -> dict[str, JSON]:
    """The number of added photos by label, if there are any."""
    counts = Counter(data.labels[photo.label] for photo in data.added)
    return {"added": dict(sorted(counts.items()))} if counts else {}


def _learning_curve(fitted: "Fitted", config: Config) -> dict[str, JSON]:
    if fitted.cross_validation is None:
        return {}
    figure = "mean_average_precision" if config.multi_label else "accuracy"
    points = fitted.cross_validation.learning_curve
    return {
        "learning_curve": [
            {"photos": photos, "tested": tested, figure: round(score, 4)} for photos, tested, score in points
        ]
    }


def warnings(fitted: "Fitted") -> list[str]:
    """Returns a sentence for each reason why the figures of a model are less certain than they look."""
    texts = temperature_warnings(fitted.calibration.temperature)
    if fitted.cross_validation is None:
        texts.append(
            "the validation photos also decided on epochs, temperature and threshold, so accuracy on them is "
            "optimistic; photos in a test folder, or --test-share, give a figure that is not"
        )
    return texts


def temperature_warnings(temperature: float) -> list[str]:
    """Returns a warning if a fitted temperature is at a bound of its range; otherwise an empty list."""
    if not calibrate.at_bound(temperature):
        return []
    text = (
        f"the temperature is {temperature:g}, the end of its range: there are too few photos for the calibration, or "
        "the model learned nothing, so its scores are not probabilities"
    )
    return [text]


def _as_output(logits: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Logits of two classes as the single logit of a sigmoid, if the model has a sigmoid."""
    return np.diff(logits) if config.output == "sigmoid" else logits


def figure_lines(card: Card) -> Iterator[str]:
    """Yields the figures of a card as lines of text."""
    if card.multi_label:
        yield from _multi_label_lines(card)
        return
    for split, figures in card.metrics.items():
        yield f"{split}: {figures['photos']} photos, accuracy {figures['accuracy']}{_interval(figures)}"
    if "cross-validation" in card.metrics:
        yield _folds(card)
    if card.label_sets:
        yield _label_sets(card)
    if card.unknown_rates:
        yield _unknown(card.unknown_rates)


def _multi_label_lines(card: Card) -> Iterator[str]:
    for split, figures in card.metrics.items():
        folds = f", {figures['folds']} folds" if "folds" in figures else ""
        yield (
            f"{split}: {figures['photos']} photos{folds}, mean average precision {figures['mean_average_precision']}"
            f"{_interval(figures, 'mean_average_precision')}, exactly the right labels {figures['exact_labels']:.1%}"
        )
    precisions = cast("Mapping[str, float | None]", card.metrics["validation"]["average_precision"])
    for label, threshold in zip(card.labels, card.thresholds, strict=True):
        precision = "unknown" if precisions[label] is None else precisions[label]
        yield f"  {label}: average precision in validation {precision}, threshold {threshold:.3f}"


def _interval(figures: Mapping[str, JSON], figure: str = "accuracy") -> str:
    return " (95 % interval {} to {})".format(*cast("Sequence[float]", figures[f"{figure}_interval"]))


def _folds(card: Card) -> str:
    metrics = card.metrics["cross-validation"]
    return f"{metrics['folds']} folds: the standard deviation of their accuracies is {metrics['standard_deviation']}"


def _label_sets(card: Card) -> str:
    held_out = card.metrics["validation"]
    tested = "cross-validation" in card.metrics
    note = "" if tested else "; these photos also decided on this score, so the figure is optimistic"
    return (
        f"label sets, of all labels with a score of at least {card.label_sets['least_score']}, contain the true label "
        f"of {held_out['label_set_coverage']:.1%} of the validation photos; they have {held_out['label_set_size']} "
        f"labels on average{note}"
    )


def _unknown(rates: Mapping[str, JSON]) -> str:
    return (
        f"unknown, in cross-validation: {rates['known_called_unknown']:.1%} of {rates['known_photos']} photos are "
        f"called unknown; of {rates['left_out_photos']} photos of classes that were left out, "
        f"{rates['left_out_taken_for_known']:.1%} are taken for another class (AUROC {rates['auroc']:.3f})"
    )


def _truth(data: DataSet, split: Split, calibration: Calibration | MultiLabelCalibration) -> NDArray[Any]:
    if isinstance(calibration, MultiLabelCalibration):
        return data.targets(split)
    return np.array([photo.label for photo in data.photos[split]], np.int64)


def _figures(
    calibration: Calibration | MultiLabelCalibration,
    logits: NDArray[np.float32],
    truth: NDArray[Any],
    labels: Sequence[str],
) -> dict[str, JSON]:
    if isinstance(calibration, MultiLabelCalibration):
        return multi_label.metrics(calibration.probabilities(logits), truth, calibration.thresholds, labels)
    return metrics_of(calibration, logits, truth)


def metrics_of(calibration: Calibration, logits: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, JSON]:
    """Returns the metrics of a split for the model card, for logits (n, classes) or (n, 1) and the classes (n)."""
    every = calibration.probabilities(logits)
    probabilities = every if calibration.other_logit is None else every[:, :-1]
    known_scores = probabilities.max(axis=1) if calibration.other_logit is None else probabilities.sum(axis=1)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    right = int((ranked[:, 0] == truth).sum())
    sets: dict[str, JSON] = {}
    if calibration.set_score is not None:
        inside = probabilities >= calibration.set_score
        sets = {
            "label_set_coverage": round(float(inside[np.arange(len(truth)), truth].mean()), 4),
            "label_set_size": round(float(inside.sum(axis=1).mean()), 4),
        }
    return {
        "photos": len(truth),
        "accuracy": round(right / len(truth), 4),
        "accuracy_interval": [round(end, 4) for end in wilson_interval(right, len(truth))],
        "top5_accuracy": round(float((ranked[:, :5] == truth[:, np.newaxis]).any(axis=1).mean()), 4),
        "expected_calibration_error": round(calibrate.expected_calibration_error(probabilities, truth), 4),
        "known_under_threshold": round(float((known_scores < calibration.threshold).mean()), 4),
        **sets,
    }
