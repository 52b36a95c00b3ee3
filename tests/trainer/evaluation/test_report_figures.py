"""Every figure of the report, computed again from predictions.jsonl by the plain formulas."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainer.evaluation.colours import COLOURS
from trainer.evaluation.evaluate import evaluate

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = list(COLOURS)

Lines = list[dict[str, Any]]


def photos(folder: Path, count: int, seed: int, light: Sequence[int] = (95, 95, 95)) -> None:
    """Photos with noise in colours between those that the model knows, of several sizes."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for at in range(count):
        width, height = [(6, 9), (30, 12), (12, 12)][at % 3]
        pixels = np.array(light) + generator.normal(0, 12, 3) + generator.normal(0, 10, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{at}.png")


def wilson(right: int, count: int) -> tuple[float, float]:
    z, share = 1.959964, right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def right(lines: Lines) -> int:
    return sum(line["best"] == line["true"] for line in lines)


def macro_f1(lines: Lines) -> float:
    f1s: list[float] = []
    for label in {line["true"] for line in lines}:
        hits = sum(line["true"] == line["best"] == label for line in lines)
        f1s.append(2 * hits / sum((line["true"] == label) + (line["best"] == label) for line in lines))
    return sum(f1s) / len(f1s)


def auroc(known_lines: Lines, others: Lines) -> float:
    pairs = [(a["known"] > b["known"]) + (a["known"] == b["known"]) / 2 for a in known_lines for b in others]
    return float(sum(pairs)) / len(pairs)


def percent(score: float) -> str:
    text = f"{score:.0%}"
    return {"100%": "100%" if score == 1 else ">99%", "0%": "<1%" if score > 0 else "0%"}.get(text, text)


INTERVAL = r"<br><small>95 % interval ([\d.]+) to ([\d.]+)</small>"


def check_bootstrap(page: str, name: str, figure: Callable[..., float], *samples: Lines) -> None:
    """Compares an interval on the page with that of other random numbers."""
    generator = np.random.default_rng(77)
    values = [
        figure(*([sample[at] for at in generator.integers(0, len(sample), len(sample))] for sample in samples))
        for _ in range(600)
    ]
    match = re.search(f"{re.escape(name)}{INTERVAL}", page)
    assert match, name
    low, high = np.percentile(values, (2.5, 97.5))
    assert [float(end) for end in match.groups()] == pytest.approx([low, high], abs=0.04)


@pytest.fixture(scope="module")
def results(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for at, label in enumerate(LABELS):
        light = [80, 80, 80]
        light[at] = 95
        photos(folder / "photos" / label, 14 + at, at, light)
    photos(folder / "others", 9, 9)
    evaluate(model_dir, folder / "photos", unknown=folder / "others", output=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def evaluation(results: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((results / "evaluation.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def lines(results: Path) -> Lines:
    everything = [json.loads(line) for line in (results / "predictions.jsonl").read_text().splitlines()]
    return [line | {"best": max(line["scores"], key=line["scores"].get)} for line in everything]


@pytest.fixture(scope="module")
def known_lines(lines: Lines) -> Lines:
    return [line for line in lines if line["true"] is not None]


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return unescape((results / "report.html").read_text())


def test_accuracy_and_its_interval(known_lines: Lines, evaluation: dict[str, Any], page: str) -> None:
    accuracy = right(known_lines) / len(known_lines)
    assert 0.3 < accuracy < 0.95  # otherwise this shows little
    assert evaluation["accuracy"] == pytest.approx(accuracy)
    low, high = wilson(right(known_lines), len(known_lines))
    assert evaluation["intervals"]["accuracy"] == pytest.approx([low, high])
    assert f"<b>{accuracy:.1%}</b><span class='muted'>accuracy<br><small>95 % interval {low:.3f} to {high:.3f}" in page
    top = sum(
        sum(score > line["scores"][line["true"]] for score in line["scores"].values()) < 5 for line in known_lines
    )
    assert evaluation["top5_accuracy"] == top / len(known_lines)
    low, high = wilson(top, len(known_lines))
    assert (
        f"<b>{top / len(known_lines):.1%}</b><span class='muted'>top-3 accuracy<br><small>95 % interval {low:.3f}"
        in page
    )


def test_confusion_and_the_rates_of_each_class(known_lines: Lines, evaluation: dict[str, Any], page: str) -> None:
    pairs = Counter((line["true"], line["best"]) for line in known_lines)
    assert evaluation["confusion"] == [[pairs[true, predicted] for predicted in LABELS] for true in LABELS]
    f1s = []
    for label in LABELS:
        true = sum(count for (one, _), count in pairs.items() if one == label)
        predicted = sum(count for (_, one), count in pairs.items() if one == label)
        precision, recall = pairs[label, label] / max(predicted, 1), pairs[label, label] / true
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        f1s.append(f1)
        cells = "".join(f"<td class='bar' style='--share:{v:.3f}'>{v:.3f}</td>" for v in (precision, recall, f1))
        assert f"<tr><td>{label}</td><td>{true}</td>{cells}" in page
    assert evaluation["macro_f1"] == pytest.approx(sum(f1s) / 3)
    assert f"<b>{sum(f1s) / 3:.3f}</b><span class='muted'>macro F1" in page
    check_bootstrap(page, "macro F1", macro_f1, known_lines)
    count, (true, predicted) = max((count, pair) for pair, count in pairs.items() if pair[0] != pair[1])
    assert f"<td>{true}</td><td>{predicted}</td><td>{count}</td>" in page


def test_calibration_error_and_reliability(known_lines: Lines, evaluation: dict[str, Any], page: str) -> None:
    bins: dict[int, Lines] = {}
    for line in known_lines:
        confidence = line["scores"][line["best"]]
        bins.setdefault(min(14, math.ceil(confidence * 15) - 1), []).append(line)
    error = 0.0
    for number, (_, inside) in enumerate(sorted(bins.items())):
        confidence = sum(line["scores"][line["best"]] for line in inside) / len(inside)
        accuracy = right(inside) / len(inside)
        error += abs(confidence - accuracy) * len(inside) / len(known_lines)
        assert evaluation["reliability"][number]["photos"] == len(inside)
        assert evaluation["reliability"][number]["confidence"] == pytest.approx(confidence, abs=1e-5)
        assert f"{len(inside)} photos, mean confidence {confidence:.1%}, accuracy {accuracy:.1%}" in page
    assert evaluation["expected_calibration_error"] == pytest.approx(error, abs=1e-5)
    assert f"<b>{error:.3f}</b><span class='muted'>expected calibration error</span>" in page


def test_unknown_photos_and_every_threshold(
    lines: Lines, known_lines: Lines, evaluation: dict[str, Any], page: str
) -> None:
    others = [line for line in lines if line["true"] is None]
    area = auroc(known_lines, others)
    assert evaluation["unknown"]["auroc"] == pytest.approx(area, abs=1e-3)
    assert f"AUROC {area:.3f} on {len(others)} photos of other things" in page
    assert f"<b>{area:.3f}</b><span class='muted'>AUROC for other things" in page
    check_bootstrap(page, "AUROC for other things", auroc, known_lines, others)
    for counts, name, some in (("known", "known classes", known_lines), ("unknown", "other things", others)):
        bins = Counter(min(24, int(line["known"] * 25 + 1e-9)) for line in some)
        assert evaluation["unknown"][f"{counts}_counts"] == [bins[at] for at in range(25)]
        for at, count in bins.items():
            assert f"<title>{name}: {count} photos from {at / 25:.2f}</title>" in page
    curve = evaluation["thresholds"]
    assert len(curve["thresholds"]) == 201
    checked = 0
    for at, threshold in enumerate(curve["thresholds"]):
        if min(abs(line["known"] - threshold) for line in lines) < 1e-5:
            continue  # predictions.jsonl has six digits
        answered = [line for line in known_lines if line["known"] >= threshold]
        precision = right(answered) / len(answered) if answered else 1.0
        assert curve["precision"][at] == pytest.approx(precision, abs=1e-4)
        assert curve["recall"][at] == pytest.approx(right(answered) / len(known_lines), abs=1e-4)
        assert curve["unknown"][at] == pytest.approx(1 - len(answered) / len(known_lines), abs=1e-4)
        taken = sum(line["known"] >= threshold for line in others) / len(others)
        assert curve["others_known"][at] == pytest.approx(taken, abs=1e-4)
        checked += 1
    assert checked > 190
    under, over = (sum(line["known"] < 0.9 for line in known_lines), sum(line["known"] >= 0.9 for line in others))
    assert evaluation["intervals"]["under_threshold"] == pytest.approx(wilson(under, len(known_lines)))
    assert evaluation["intervals"]["false_known_rate"] == pytest.approx(wilson(over, len(others)))
    low, high = evaluation["intervals"]["under_threshold"]
    assert f"below the threshold 0.9<br><small>95 % interval {low:.3f} to {high:.3f}" in page
    answered = [line for line in known_lines if line["known"] >= 0.9]
    unknown, taken = under / len(known_lines), over / len(others)
    for rate, value in (
        ("precision", right(answered) / len(answered)), ("recall", right(answered) / len(known_lines)),
        ("unknown", unknown), ("others_known", taken),
    ):  # fmt: skip
        assert f"<td data-rate='{rate}'>{100 * value:.1f} %</td>" in page
    assert f"<b>{unknown:.1%}</b><span class='muted'>unknown: below the threshold 0.9<" in page
    text = f"{unknown:.1%} of the known photos are classified as unknown, and {taken:.1%} of the other things as known"
    assert text in page
    assert json.loads(re.findall(r"id='curve'>(.*?)</script>", page)[0]) == curve


def test_label_sets(known_lines: Lines, evaluation: dict[str, Any], page: str) -> None:
    sets = [{label for label, score in line["scores"].items() if score >= 0.3} for line in known_lines]
    covered = sum(line["true"] in one for line, one in zip(known_lines, sets, strict=True))
    coverage = covered / len(known_lines)
    assert evaluation["label_sets"]["coverage"] == pytest.approx(coverage)
    assert evaluation["label_sets"]["mean_size"] == pytest.approx(sum(map(len, sets)) / len(known_lines))
    sizes = Counter(map(len, sets))
    assert evaluation["label_sets"]["sizes"] == [sizes[size] for size in range(4)]
    low, high = wilson(covered, len(known_lines))
    assert f"{coverage:.1%} of the sets contain the true label (95 % interval {low:.3f} to {high:.3f}" in page
    assert f"They have {sum(map(len, sets)) / len(known_lines):.2f} labels on average" in page
    for size, count in sizes.items():
        assert (
            f"<tr><td>{size}</td><td class='bar' style='--share:{count / len(known_lines):.3f}'>{count}</td></tr>"
            in page
        )


def test_parts_of_the_photos(known_lines: Lines, evaluation: dict[str, Any], page: str) -> None:
    def shorter(line: dict[str, Any]) -> int:
        return int(min(line["width"], line["height"]))

    def third(of: str, number: int) -> Lines:
        ordered = sorted(known_lines, key=lambda line: float(line[of]))
        return [line for at, line in enumerate(ordered) if at * 3 // len(known_lines) == number]

    slices = {
        "size: shorter side under 8 pixels": [line for line in known_lines if shorter(line) < 8],
        "size: 8 to 16 pixels": [line for line in known_lines if 8 <= shorter(line) <= 16],
        "shape: portrait": [line for line in known_lines if line["width"] < 0.9 * line["height"]],
        "shape: about square": [line for line in known_lines if 0.9 <= line["width"] / line["height"] <= 1.1],
        "shape: landscape": [line for line in known_lines if line["width"] > 1.1 * line["height"]],
        "brightness: darkest third": third("brightness", 0),
        "brightness: middle third": third("brightness", 1),
        "brightness: brightest third": third("brightness", 2),
        "sharpness: most blurred third": third("sharpness", 0),
        "sharpness: middle third": third("sharpness", 1),
        "sharpness: sharpest third": third("sharpness", 2),
    }
    assert {f"{one['group']}: {one['name']}" for one in evaluation["slices"]} == set(slices)
    for name, inside in slices.items():
        share, (low, high) = right(inside) / len(inside), wilson(right(inside), len(inside))
        unknown = sum(line["known"] < 0.9 for line in inside) / len(inside)
        row = f"<tr><td>{name}</td><td>{len(inside)}</td><td class='bar' style='--share:{share:.3f}'>{share:.3f}</td>"
        assert f"{row}<td>{low:.3f} to {high:.3f}</td><td>{unknown:.1%}</td></tr>" in page


def test_the_worst_mistakes_are_the_surest_wrong_answers(
    known_lines: Lines, evaluation: dict[str, Any], page: str
) -> None:
    wrong = [line for line in known_lines if line["best"] != line["true"]]
    surest = sorted((line["scores"][line["best"]] for line in wrong), reverse=True)
    assert [one["confidence"] for one in evaluation["worst"]] == pytest.approx(surest[:24], abs=1e-6)
    assert page.count("<figure>") == min(24, len(wrong))
    table = page[page.index("Classes, lowest F1 first") :]
    for label in LABELS:
        of_class = sorted(
            (line for line in wrong if line["true"] == label), key=lambda line: -line["scores"][line["best"]]
        )
        row = table[table.index(f"<tr><td>{label}</td>") :].partition("</tr>")[0]
        named = re.findall(r" title='(.*?)'", row)
        assert named == [
            f"{line['best']} {percent(line['scores'][line['best']])}: {Path(line['photo']).name}"
            for line in of_class[:3]
        ]
