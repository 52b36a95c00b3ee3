"""The parts of the report about scores: calibration, label sets, unknown photos, and the threshold with its slider."""

import dataclasses
import json
from html import escape

from trainer.evaluation import calibrate, plots
from trainer.evaluation.metrics import Evaluation

LARGEST_SET = 5
"""Sets of more labels are counted together."""

SCRIPT = """
const curve = JSON.parse(document.getElementById("curve").textContent);
const slider = document.getElementById("threshold");
const percent = (value) => (100 * value).toFixed(1) + " %";
function show() {
  const at = Number(slider.value);
  for (const cell of document.querySelectorAll("[data-rate]")) {
    const value = curve[cell.dataset.rate][at];
    cell.textContent = cell.dataset.rate === "thresholds" ? value.toFixed(3) : percent(value);
  }
  const line = document.getElementById("chosen");
  const [first, last] = [Number(line.dataset.first), Number(line.dataset.last)];
  const x = first + (last - first) * curve.thresholds[at];
  line.setAttribute("d", line.getAttribute("d").replace(/^M[\\d.]+/, "M" + x.toFixed(1)));
}
slider.addEventListener("input", show);
slider.hidden = false;
"""

RATES = (
    ("precision", "precision", "of the answers are right", "var(--accent)"),
    ("recall", "recall", "of the photos get the right answer", "var(--third)"),
    ("unknown", "unknown", "of the photos are unknown", "var(--muted)"),
    ("others_known", "other things", "of the photos of other things are taken for a class", "var(--bad)"),
)
"""Field of the curve, name, what it is a share of, and colour."""


def reliability(evaluation: Evaluation) -> str:
    """Returns the reliability diagram."""
    diagram = plots.reliability_diagram(evaluation.reliability.filled(), calibrate.BINS)
    return (
        f"<section><h2>Reliability</h2>{diagram}<p class='note'>Accuracy by confidence. On the dashed line, both "
        "are equal; darker bars have more photos. Temperature "
        f"{evaluation.card.temperature:.3g}.</p></section>"
    )


def label_sets(evaluation: Evaluation) -> str:
    """Returns the coverage and the sizes of the label sets."""
    sets = evaluation.label_sets
    if sets is None:
        return ""
    low, high = evaluation.intervals["label_set_coverage"]
    largest = max(size for size, count in enumerate(sets.sizes) if count)
    counts = [*sets.sizes[: min(LARGEST_SET, largest) + 1]]
    rest = sum(sets.sizes[LARGEST_SET + 1 :])
    names = [str(size) for size in range(len(counts))] + ([f"more than {LARGEST_SET}"] if rest else [])
    rows = "".join(
        f"<tr><td>{name}</td><td class='bar' style='--share:{count / evaluation.photos:.3f}'>{count}</td></tr>"
        for name, count in zip(names, [*counts, *([rest] if rest else [])], strict=True)
    )
    return (
        f"<section><h2>Label sets</h2><p>{sets.coverage:.1%} of the sets contain the true label (95 % interval "
        f"{low:.3f} to {high:.3f}; {sets.target:.0%} were asked for). They have {sets.mean_size:.2f} labels on average."
        f"</p><table><tr><th>labels in the set</th><th>photos</th></tr>{rows}</table><p class='note'>A set has all "
        f"labels with a score of at least {sets.least_score:g}.</p></section>"
    )


def unknown(evaluation: Evaluation) -> str:
    """Returns the scores of known photos and of other things."""
    result = evaluation.unknown
    if result is None:
        return ""
    threshold = evaluation.card.unknown_threshold
    picture = plots.score_histogram(result.known_counts, result.unknown_counts, threshold)
    text = f"AUROC {result.auroc:.3f} on {result.photos} photos of other things."
    if result.false_unknown_rate is not None and result.false_known_rate is not None:
        text += (
            f" At the threshold {threshold:g} (dashed), {result.false_unknown_rate:.1%} of the known photos are "
            f"classified as unknown, and {result.false_known_rate:.1%} of the other things as known."
        )
    return f"<section><h2>Known and unknown</h2>{picture}<p class='note'>{text}</p></section>"


def thresholds(evaluation: Evaluation) -> str:
    """Returns precision, recall and unknown photos by threshold, with a slider to choose one."""
    curve = evaluation.curve
    last = len(curve.thresholds) - 1
    at = round((evaluation.card.unknown_threshold or 0.0) * last)
    values: dict[str, list[float]] = dataclasses.asdict(curve)
    rates = [row for row in RATES if values[row[0]]]
    picture = plots.threshold_curves(
        curve.thresholds, [(name, colour, values[key]) for key, name, _, colour in rates], curve.thresholds[at]
    )
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td data-rate='{key}'>{100 * values[key][at]:.1f} %</td>"
        f"<td>{escape(text)}</td></tr>"
        for key, name, text, _ in rates
    )
    return (
        f"<section><h2>Threshold for unknown</h2><div class='row'><div>{picture}"
        f"<input id='threshold' type='range' aria-label='Threshold' min='0' max='{last}' value='{at}' hidden></div>"
        f"<table class='rates'><tr><td>threshold</td><td data-rate='thresholds'>{curve.thresholds[at]:.3f}</td>"
        f"<td>move the slider to see others</td></tr>{rows}</table></div></section>"
        f"<script type='application/json' id='curve'>{json.dumps(values)}</script><script>{SCRIPT}</script>"
    )
