"""Plots of an evaluation as SVG. Colours are CSS variables, so that they follow the colour scheme of the page.

They are not drawn by Matplotlib, which has neither such colours nor tooltips. Measured for five plots and the confusion
matrix of 133 classes: 0.3 MB and 0.02 s of CPU time; with Matplotlib 3.6 MB, 2.0 s and 76 MB of memory.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

Line = tuple[str, str, Sequence[float]]
"""Name, CSS colour, and a value for each step."""

LEFT, RIGHT, TOP, BOTTOM = 56, 12, 30, 34
"""Margins of a plot in pixels, for axis labels and the legend."""


def confusion_matrix(confusion: NDArray[np.int64], labels: Sequence[str]) -> str:
    """Draws the confusion matrix: rows are true classes, columns are predicted ones, opacity is the share of the row.

    Only cells that are not empty are drawn, with a tooltip and, if there is room, the count. Cells have a minimum size
    at which their labels are readable, so the plot grows with the number of classes.
    """
    count = len(labels)
    cell = min(44.0, max(11.0, 430 / count))
    text = min(13.0, cell * 0.85)
    margin = 10 + 0.56 * text * max(len(label) for label in labels)
    side = cell * count
    elements = [_grid(margin, cell, count)]
    totals = np.maximum(confusion.sum(axis=1), 1)
    for true, predicted in np.argwhere(confusion):
        photos = int(confusion[true, predicted])
        share = photos / totals[true]
        colour = "var(--good)" if true == predicted else "var(--bad)"
        x, y = margin + predicted * cell, margin + true * cell
        hint = f"{labels[true]} classified as {labels[predicted]}: {photos} of {totals[true]} photos"
        elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill="{colour}" '
            f'fill-opacity="{0.18 + 0.82 * share:.2f}"><title>{escape(hint)}</title></rect>'
        )
        if cell >= 20:
            ink = "var(--on-strong)" if share > 0.5 else "var(--text)"
            elements.append(_text(x + cell / 2, y + cell / 2, str(photos), size=text, anchor="middle", colour=ink))
    for at, label in enumerate(labels):
        middle = margin + (at + 0.5) * cell
        elements.append(_text(margin - 6, middle, label, size=text, anchor="end"))
        turn = f' transform="rotate(-90 {middle:.1f} {margin - 6:.1f})"'
        elements.append(_text(middle, margin - 6, label, size=text, extra=turn))
    size = margin + side + 1
    return _svg(size, size, elements, "Confusion matrix: rows are true classes, columns are answers")


def _grid(margin: float, cell: float, count: int) -> str:
    side = cell * count
    lines = [
        f"M{margin:.1f} {margin + at * cell:.1f}h{side:.1f}M{margin + at * cell:.1f} {margin:.1f}v{side:.1f}"
        for at in range(count + 1)
    ]
    return f'<path d="{"".join(lines)}" stroke="var(--faint)" fill="none"/>'


def reliability_diagram(bins: Sequence[tuple[float, float, int]], bin_count: int) -> str:
    """Draws accuracy by confidence, from (confidence, accuracy, photos) of each bin."""
    plot = _Plot(420, 340, (0, 1), (0, 1))
    width = plot.x(1 / bin_count) - plot.x(0)
    largest = max(photos for *_, photos in bins)
    for confidence, accuracy, photos in bins:
        left = plot.x((np.ceil(confidence * bin_count) - 1) / bin_count)
        hint = f"{photos} photos, mean confidence {confidence:.1%}, accuracy {accuracy:.1%}"
        plot.parts.append(
            f'<rect x="{left + 1:.1f}" y="{plot.y(accuracy):.1f}" width="{width - 2:.1f}" '
            f'height="{plot.y(0) - plot.y(accuracy):.1f}" fill="var(--accent)" '
            f'fill-opacity="{0.25 + 0.75 * photos / largest:.2f}"><title>{hint}</title></rect>'
        )
        plot.parts.append(
            f'<circle cx="{plot.x(confidence):.1f}" cy="{plot.y(accuracy):.1f}" r="3" fill="var(--text)"/>'
        )
    plot.parts.append(
        f'<path d="M{plot.x(0)} {plot.y(0)}L{plot.x(1)} {plot.y(1)}" stroke="var(--muted)" stroke-dasharray="5 4"/>'
    )
    return plot.svg("Reliability diagram", "confidence", "accuracy")


def score_histogram(
    known: Sequence[int],
    unknown: Sequence[int],
    threshold: float | None,
    names: tuple[str, str] = ("known classes", "other things"),
) -> str:
    """Draws histograms of the scores of two kinds of photos, as shares; `names` are those of the kinds."""
    shares = [np.array(counts) / max(1, sum(counts)) for counts in (known, unknown)]
    plot = _Plot(420, 340, (0, 1), (0, float(max(share.max() for share in shares)) * 1.05))
    for share, counts, colour, name in (
        (shares[0], known, "var(--good)", names[0]),
        (shares[1], unknown, "var(--bad)", names[1]),
    ):
        for at, height in enumerate(share):
            if height:
                x, y = plot.x(at / len(share)), plot.y(height)
                plot.parts.append(
                    f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{plot.x(1 / len(share)) - plot.x(0) - 2:.1f}" '
                    f'height="{plot.y(0) - y:.1f}" fill="{colour}" fill-opacity="0.55">'
                    f"<title>{name}: {counts[at]} photos from {at / len(share):.2f}</title></rect>"
                )
    if threshold is not None:
        x = plot.x(threshold)
        plot.parts.append(
            f'<path d="M{x:.1f} {plot.y.low}V{plot.y.high}" stroke="var(--text)" stroke-dasharray="5 4"/>'
        )
    plot.legend([(names[0], "var(--good)"), (names[1], "var(--bad)")], width=160)
    return plot.svg(f"Scores of {names[0]} and of {names[1]}", "score", "share of photos")


def curves(title: str, lines: Sequence[Line], borders: Mapping[str, int]) -> str:
    """Draws values by epoch. `borders` maps the stages of the training to their first epochs."""
    values = np.array([value for _, _, line in lines for value in line])
    low, high = float(values.min()), float(values.max())
    room = max((high - low) * 0.08, 1e-3)
    steps = max(len(line) for *_, line in lines)
    plot = _Plot(420, 280, (1, max(steps, 2)), (low - room, high + room))
    for name, begins in borders.items():
        if begins:
            x = plot.x(begins + 0.5)
            plot.parts.append(
                f'<path d="M{x:.1f} {plot.y.low}V{plot.y.high}" stroke="var(--muted)" stroke-dasharray="3 4"/>'
            )
            plot.parts.append(_text(x + 5, plot.y.high + 8, name, size=11, colour="var(--muted)"))
    for _, colour, line in lines:
        points = " ".join(f"{plot.x(at):.1f},{plot.y(value):.1f}" for at, value in enumerate(line, 1))
        plot.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line) == 1:
            plot.parts.append(f'<circle cx="{plot.x(1):.1f}" cy="{plot.y(line[0]):.1f}" r="3" fill="{colour}"/>')
    plot.legend([(name, colour) for name, colour, _ in lines])
    return plot.svg(title, "epoch", title.lower(), whole_x=True)


def threshold_curves(thresholds: Sequence[float], lines: Sequence[Line], threshold: float) -> str:
    """Draws rates by threshold, and a line at the chosen one that a script can move (id `chosen`)."""
    plot = _Plot(520, 340, (0, 1), (0, 1.02))
    for _, colour, line in lines:
        points = " ".join(f"{plot.x(at):.1f},{plot.y(value):.1f}" for at, value in zip(thresholds, line, strict=True))
        plot.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    plot.parts.append(
        f'<path id="chosen" data-first="{plot.x(0):.1f}" data-last="{plot.x(1):.1f}" '
        f'd="M{plot.x(threshold):.1f} {plot.y.low}V{plot.y.high}" stroke="var(--text)" stroke-dasharray="5 4"/>'
    )
    plot.legend([(name, colour) for name, colour, _ in lines], width=112)
    return plot.svg("Precision, recall and unknown photos by threshold", "threshold", "share")


def learning_curve(
    points: Sequence[tuple[int, float]], expected: tuple[int, float] | None, figure: str = "accuracy"
) -> str:
    """Draws a figure by number of photos, and the value that is expected of more photos."""
    everything = [*points, *([expected] if expected else [])]
    low = min(accuracy for _, accuracy in everything)
    plot = _Plot(420, 280, (0, everything[-1][0] * 1.05), (max(0.0, low - 0.03), 1.0))

    def place(point: tuple[int, float]) -> str:
        return f"{plot.x(point[0]):.1f},{plot.y(point[1]):.1f}"

    lines = [(list(points), "")]
    if expected:
        lines.append(([points[-1], expected], ' stroke-dasharray="5 4"'))
    for line, dashes in lines:
        plot.parts.append(
            f'<polyline points="{" ".join(map(place, line))}" fill="none" stroke="var(--accent)" '
            f'stroke-width="2"{dashes}/>'
        )
    for photos, accuracy in everything:
        x, y = place((photos, accuracy)).split(",")
        hint = f"{photos} photos: {'about ' if (photos, accuracy) == expected else ''}{accuracy:.3f}"
        plot.parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="var(--accent)"><title>{hint}</title></circle>')
    return plot.svg("Learning curve", "training photos", figure, whole_x=True)


class _Axis:
    """From values to pixels."""

    def __init__(self, values: tuple[float, float], pixels: tuple[float, float]) -> None:
        self.values = values
        self.low, self.high = pixels

    def __call__(self, value: float) -> float:
        low, high = self.values
        return self.low + (value - low) / (high - low) * (self.high - self.low)

    def ticks(self, *, integers: bool = False) -> list[float]:
        """About five round values."""
        low, high = self.values
        rough = (high - low) / 5
        power = 10 ** np.floor(np.log10(rough))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.8)
        if integers:
            step = max(1, round(step))
        first, last = round(np.ceil(low / step - 1e-6)), round(np.floor(high / step + 1e-6))
        return [float(number * step) for number in range(first, last + 1)]


class _Plot:
    """A plot with two axes."""

    def __init__(self, width: float, height: float, xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self.width, self.height = width, height
        self.x = _Axis(xs, (LEFT, width - RIGHT))
        self.y = _Axis(ys, (height - BOTTOM, TOP))
        self.parts: list[str] = []

    def legend(self, entries: Sequence[tuple[str, str]], width: float = 130) -> None:
        for at, (name, colour) in enumerate(entries):
            x = self.x.low + width * at
            self.parts.append(f'<rect x="{x:.1f}" y="5" width="14" height="10" rx="2" fill="{colour}"/>')
            self.parts.append(_text(x + 20, 10, name, size=12))

    def svg(self, title: str, x_name: str, y_name: str, *, whole_x: bool = False) -> str:
        frame = []
        for tick in self.x.ticks(integers=whole_x):
            frame.append(f'<path d="M{self.x(tick):.1f} {self.y.low}V{self.y.high}" stroke="var(--faint)"/>')
            frame.append(
                _text(self.x(tick), self.y.low + 11, f"{tick:g}", size=11, anchor="middle", colour="var(--muted)")
            )
        for tick in self.y.ticks():
            frame.append(f'<path d="M{self.x.low} {self.y(tick):.1f}H{self.x.high}" stroke="var(--faint)"/>')
            frame.append(_text(self.x.low - 5, self.y(tick), f"{tick:g}", size=11, anchor="end", colour="var(--muted)"))
        middle = (self.x.low + self.x.high) / 2
        frame.append(_text(middle, self.height - 7, x_name, size=12, anchor="middle", colour="var(--muted)"))
        across = (self.y.low + self.y.high) / 2
        turn = f' transform="rotate(-90 9 {across:.1f})"'
        frame.append(_text(9, across, y_name, size=12, anchor="middle", colour="var(--muted)", extra=turn))
        return _svg(self.width, self.height, frame + self.parts, title)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    anchor: str = "start",
    colour: str = "var(--text)",
    extra: str = "",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" text-anchor="{anchor}" dominant-baseline="central" '
        f'fill="{colour}"{extra}>{escape(text)}</text>'
    )


def _svg(width: float, height: float, elements: Sequence[str], title: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(elements)}</svg>'
    )
