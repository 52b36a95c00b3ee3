"""Put the parts of the report together."""

from pathlib import Path

from trainer.evaluation.metrics import Evaluation
from trainer.evaluation.multi_label_evaluation import MultiLabelEvaluation
from trainer.evaluation.page import document
from trainer.evaluation.report import confusion, data, mistakes, multi_label, overview, scores, training
from trainer.evaluation.report.run import Run


def write(evaluation: Evaluation | MultiLabelEvaluation, folder: Path) -> Path:
    """Writes `report.html` into a folder of results; returns its path.

    Raises:
        TrainerError: A file of the model or of the folder is damaged.
    """
    path = folder / "report.html"
    path.write_text(render(evaluation, Run.read(evaluation.model, folder)), encoding="utf-8")
    return path


def render(evaluation: Evaluation | MultiLabelEvaluation, run: Run) -> str:
    """Returns the page."""
    if isinstance(evaluation, MultiLabelEvaluation):
        sections = [
            multi_label.figures(evaluation),
            training.curves(evaluation.card, run),
            multi_label.labels(evaluation),
            multi_label.worst(evaluation),
        ]
    else:
        sections = [
            overview.figures(evaluation),
            training.curves(evaluation.card, run),
            confusion.section(evaluation),
            "<div class='row'>",
            scores.reliability(evaluation),
            scores.label_sets(evaluation),
            scores.unknown(evaluation),
            "</div>",
            scores.thresholds(evaluation),
            mistakes.worst(evaluation),
            mistakes.classes(evaluation),
            mistakes.slices(evaluation),
        ]
    sections = [
        overview.head(evaluation),
        *sections,
        data.problems(run.data),
        data.unreadable(evaluation.unreadable),
        training.repeat(evaluation, run),
    ]
    return document(f"{evaluation.card.name} {evaluation.model.name}: evaluation", "".join(sections))
