"""Files of a published version for other runtimes: ONNX, LiteRT, OpenVINO and Keras.

Each file takes pixels and returns probabilities and an embedding: the normalisation and the temperature are inside, and
so is the model card. The file is run by its own runtime on real photos, and refused if it does not give the answers of
the published version.
"""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from trainer.errors import TrainerError
from trainer.export.formats import CARD_FILE, FORMATS, Floats, Reference, Runner
from trainer.export.precision import Limits, Precision
from trainer.model_card import JSON, Card

LIMIT: Final = 1e-3
"""Largest difference of a probability in float32. All photos must keep their best label, or their labels."""

MAX_PHOTOS: Final = 500
"""Photos that a file in float32 is compared on, at most."""

TIMED_CALLS: Final = 20


@dataclass(frozen=True)
class Proof:
    """How a file compares with the published version: `export` of its model card.

    Attributes:
        format: Value of `--format`.
        precision: Precision of its computations.
        method: How it was quantized; None if it was not.
        photos: Number of photos that it was compared on.
        largest_difference: Largest difference of a probability.
        same_top1: Share of photos that keep their best label, or all labels of a multi-label model, 0 to 1.
        reference_accuracy: Accuracy of the published version on these photos, 0 to 1; None without labels.
        accuracy: Accuracy of the file; None without labels.
        bytes: Size of the file before the card was added.
        milliseconds: Median time of a call with one photo, on the machine that wrote it.
    """

    format: str
    precision: str
    method: str | None
    photos: int
    largest_difference: float
    same_top1: float
    reference_accuracy: float | None
    accuracy: float | None
    bytes: int
    milliseconds: float

    def to_json(self) -> dict[str, JSON]:
        """Returns the `export` of a model card."""
        return dataclasses.asdict(self)

    def summary(self, *, multi_label: bool = False) -> str:
        """Returns a line for people."""
        same = "same labels" if multi_label else "same top-1"
        line = (
            f"{self.format} in {self.precision}: {self.bytes / 1e6:.1f} MB, {self.milliseconds:.1f} ms per photo; on "
            f"{self.photos} photos largest difference {self.largest_difference:.1g}, {same} {self.same_top1:.1%}"
        )
        if self.accuracy is not None:
            line += f", accuracy {self.accuracy:.3f} (published version: {self.reference_accuracy:.3f})"
        return line


def export_file(
    name: str, model: object, card: Card, folder: Path, reference: Reference, precision: Precision = "float32"
) -> Proof:
    """Writes a file of one format, compares it with the published version, and puts the card into it.

    Args:
        name: A key of `FORMATS`.
        model: Keras model, pixel values -> logits, as for `export_model`.
        card: Card of the published version; `export` is filled in here.
        folder: An existing folder for the file and `card.json`.
        reference: What the file must give.
        precision: Precision of the computations.

    Raises:
        TrainerError: The file gives other answers, or loses more than it may. Nothing stays in the folder.
    """
    form = FORMATS[name]
    module, path = form.load(), folder / form.file
    try:
        method = module.write(model, card, path, precision, reference)
        size = sum(one.stat().st_size for one in folder.iterdir())
        run = module.runner(path)
        probabilities = run(reference.photos)["probabilities"]
        proof = _compared(name, precision, method, probabilities, reference, card, size, _milliseconds(run, reference))
        text = dataclasses.replace(card, export=proof.to_json()).to_json()
        module.add_card(path, text)
        if module.read_card(path) != text:
            raise TrainerError("the export is refused: the model card in the file is not the one that was written")
        few = reference.photos[:2]
        if not np.allclose(module.runner(path)(few)["probabilities"], probabilities[: len(few)], atol=1e-6):
            raise TrainerError("the export is refused: the file gives other answers with its card than without")
    except BaseException:
        for file in folder.iterdir():
            file.unlink()
        raise
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return proof


def _compared(
    name: str,
    precision: Precision,
    method: str | None,
    probabilities: Floats,
    reference: Reference,
    card: Card,
    size: int,
    milliseconds: float,
) -> Proof:
    expected, truth = reference.probabilities, reference.truth
    if probabilities.shape != expected.shape or not np.isfinite(probabilities).all():
        raise TrainerError(
            f"the export is refused: it gives probabilities of shape {probabilities.shape} or none at all"
        )
    labels = len(card.labels)
    best, expected_best = probabilities[:, :labels].argmax(axis=1), expected[:, :labels].argmax(axis=1)
    # Of a multi-label model, several labels may have nearly the same score: their order does not matter.
    same = (
        (card.predicted_labels(probabilities) == card.predicted_labels(expected)).all(axis=1)
        if card.multi_label
        else best == expected_best
    )
    proof = Proof(
        format=name,
        precision=precision,
        method=method,
        photos=len(probabilities),
        largest_difference=float(np.abs(probabilities - expected).max()),
        same_top1=float(np.mean(same)),
        reference_accuracy=None if truth is None else float(np.mean(expected_best == truth)),
        accuracy=None if truth is None else float(np.mean(best == truth)),
        bytes=size,
        milliseconds=milliseconds,
    )
    _check(proof, reference.limits, multi_label=card.multi_label)
    return proof


def _check(proof: Proof, limits: Limits, *, multi_label: bool) -> None:
    if proof.precision == "float32":
        if not proof.largest_difference <= LIMIT or proof.same_top1 < 1:
            raise TrainerError(
                f"the export is refused: on {proof.photos} photos, its probabilities differ from those of the "
                f"published version by {proof.largest_difference:.2g} ({LIMIT:g} is allowed), and "
                f"{proof.same_top1:.1%} keep {'their labels' if multi_label else 'their best label'} (100 % must)"
            )
        return
    lost = 100 * ((proof.reference_accuracy or 0.0) - (proof.accuracy or 0.0))
    if lost > limits.max_accuracy_loss + 1e-9 or 100 * proof.same_top1 < limits.min_same_top1 - 1e-9:
        raise TrainerError(
            f"the export in {proof.precision} is refused: on {proof.photos} validation photos it loses {lost:.2f} "
            f"points of accuracy ({limits.max_accuracy_loss:g} are allowed) and gives the same best label for "
            f"{proof.same_top1:.2%} ({limits.min_same_top1:g} % is required). --max-accuracy-loss and --min-same-top1 "
            "set these limits"
        )


def _milliseconds(run: Runner, reference: Reference) -> float:
    durations = []
    for number in range(TIMED_CALLS + 3):
        photo = reference.photos[[number % len(reference.photos)]]
        started = time.perf_counter()
        run(photo)
        durations.append(1e3 * (time.perf_counter() - started))
    return round(statistics.median(durations[3:]), 2)
