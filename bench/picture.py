"""The picture for README and docs: requests per second of the alternatives, with names that users know."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from bench.compare import Comparison
from bench.programs import OPENVINO, OPENVINO_INT8

CHOICES = {
    "model inside": "FastAPI + TensorFlow",
    "OpenVINO inside": "FastAPI + OpenVINO",
    OPENVINO: "Breed Gateway + OpenVINO",
    OPENVINO_INT8: "Breed Gateway + OpenVINO, int8",
}
"""Names in tables and in the picture; without OpenVINO, `FALLBACK` too."""

FALLBACK = {"gateway": "Breed Gateway + model server"}

OURS, OTHERS = "#0b7285", "#9aa5b1"


def draw(path: Path, comparison: Comparison, load: str, caption: str) -> None:
    """Draws a bar for each measured alternative: the median, and the range over all rounds.

    Args:
        path: The PNG to write.
        comparison: The measurements.
        load: Name of the load, such as `8 callers`.
        caption: Text below the picture.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    measured = comparison.runs[load]
    names = CHOICES if OPENVINO in measured else {**CHOICES, **FALLBACK}
    systems = [(name, title) for name, title in names.items() if name in measured]
    rates = [comparison.spread(load, name, lambda run: run.rate) for name, _ in systems]
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(systems) + 1.3), layout="constrained")
    bars = axes.barh(
        [title for _, title in systems],
        [rate.median for rate in rates],
        xerr=[[rate.median - rate.low for rate in rates], [rate.high - rate.median for rate in rates]],
        error_kw={"lw": 1, "capsize": 3, "ecolor": "#333333"},
        color=[OURS if "Gateway" in title else OTHERS for _, title in systems],
        height=0.62,
    )
    axes.bar_label(bars, [f"{rate.median:.0f}" for rate in rates], padding=10, fontweight="bold")
    axes.set_xlim(0, 1.15 * max(rate.high for rate in rates))
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Photos answered in a second, {load}", loc="left", fontweight="bold")
    figure.supxlabel(caption, fontsize=8, color="#555555")
    figure.savefig(path, dpi=130)
    plt.close(figure)
