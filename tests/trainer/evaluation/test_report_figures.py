"""Every figure of the report, computed again from predictions.jsonl by the plain formulas."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
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
def found(results: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((results / "evaluation.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def lines(results: Path) -> Lines:
    everything = [json.loads(line) for line in (results / "predictions.jsonl").read_text().splitlines()]
    return [line | {"best": max(line["scores"], key=line["scores"].get)} for line in everything]


@pytest.fixture(scope="module")
def known(lines: Lines) -> Lines:
    return [line for line in lines if line["true"] is not None]


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return unescape((results / "report.html").read_text())


def test_accuracy_and_its_interval(known: Lines, found: dict[str, Any], page: str) -> None:
    accuracy = right(known) / len(known)
    assert 0.3 < accuracy < 0.95  # otherwise this shows little
    assert found["accuracy"] == pytest.approx(accuracy)
    low, high = wilson(right(known), len(known))
    assert found["intervals"]["accuracy"] == pytest.approx([low, high])
    assert f"<b>{accuracy:.1%}</b><span class='muted'>accuracy<br><small>95 % interval {low:.3f} to {high:.3f}" in page


def test_confusion_and_the_rates_of_each_class(known: Lines, found: dict[str, Any], page: str) -> None:
    pairs = Counter((line["true"], line["best"]) for line in known)
    assert found["confusion"] == [[pairs[true, said] for said in LABELS] for true in LABELS]
    f1s = []
    for label in LABELS:
        true = sum(count for (one, _), count in pairs.items() if one == label)
        said = sum(count for (_, one), count in pairs.items() if one == label)
        precision, recall = pairs[label, label] / max(said, 1), pairs[label, label] / true
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        f1s.append(f1)
        cells = "".join(f"<td class='bar' style='--share:{v:.3f}'>{v:.3f}</td>" for v in (precision, recall, f1))
        assert f"<tr><td>{label}</td><td>{true}</td>{cells}" in page
    assert found["macro_f1"] == pytest.approx(sum(f1s) / 3)
    assert f"<b>{sum(f1s) / 3:.3f}</b><span class='muted'>macro F1" in page
    count, (true, said) = max((count, pair) for pair, count in pairs.items() if pair[0] != pair[1])
    assert f"<td>{true}</td><td>{said}</td><td>{count}</td>" in page


def test_calibration_error_and_reliability(known: Lines, found: dict[str, Any], page: str) -> None:
    bins: dict[int, Lines] = {}
    for line in known:
        confidence = line["scores"][line["best"]]
        bins.setdefault(min(14, math.ceil(confidence * 15) - 1), []).append(line)
    error = 0.0
    for number, (_, inside) in enumerate(sorted(bins.items())):
        confidence = sum(line["scores"][line["best"]] for line in inside) / len(inside)
        accuracy = right(inside) / len(inside)
        error += abs(confidence - accuracy) * len(inside) / len(known)
        assert found["reliability"][number]["photos"] == len(inside)
        assert found["reliability"][number]["confidence"] == pytest.approx(confidence, abs=1e-5)
        assert f"{len(inside)} photos, mean confidence {confidence:.1%}, accuracy {accuracy:.1%}" in page
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-5)


def test_unknown_photos_and_every_threshold(lines: Lines, known: Lines, found: dict[str, Any], page: str) -> None:
    others = [line for line in lines if line["true"] is None]
    pairs = [(a["known"] > b["known"]) + (a["known"] == b["known"]) / 2 for a in known for b in others]
    auroc = sum(pairs) / len(pairs)
    assert found["unknown"]["auroc"] == pytest.approx(auroc, abs=1e-3)
    assert f"AUROC {auroc:.3f} on {len(others)} photos of other things" in page
    curve = found["thresholds"]
    assert len(curve["thresholds"]) == 201
    checked = 0
    for at, threshold in enumerate(curve["thresholds"]):
        if min(abs(line["known"] - threshold) for line in lines) < 1e-5:
            continue  # predictions.jsonl has six digits
        answered = [line for line in known if line["known"] >= threshold]
        precision = right(answered) / len(answered) if answered else 1.0
        assert curve["precision"][at] == pytest.approx(precision, abs=1e-4)
        assert curve["recall"][at] == pytest.approx(right(answered) / len(known), abs=1e-4)
        assert curve["unknown"][at] == pytest.approx(1 - len(answered) / len(known), abs=1e-4)
        taken = sum(line["known"] >= threshold for line in others) / len(others)
        assert curve["others_known"][at] == pytest.approx(taken, abs=1e-4)
        checked += 1
    assert checked > 190
    unknown = sum(line["known"] < 0.9 for line in known) / len(known)
    assert f"<td data-rate='unknown'>{100 * unknown:.1f} %</td>" in page
    assert json.loads(re.findall(r"id='curve'>(.*?)</script>", page)[0]) == curve


def test_label_sets(known: Lines, found: dict[str, Any], page: str) -> None:
    sets = [{label for label, score in line["scores"].items() if score >= 0.3} for line in known]
    covered = sum(line["true"] in one for line, one in zip(known, sets, strict=True))
    coverage = covered / len(known)
    assert found["label_sets"]["coverage"] == pytest.approx(coverage)
    assert found["label_sets"]["mean_size"] == pytest.approx(sum(map(len, sets)) / len(known))
    sizes = Counter(map(len, sets))
    assert found["label_sets"]["sizes"] == [sizes[size] for size in range(4)]
    low, high = wilson(covered, len(known))
    assert f"{coverage:.1%} of the sets contain the true label (95 % interval {low:.3f} to {high:.3f}" in page


def test_parts_of_the_photos(known: Lines, found: dict[str, Any], page: str) -> None:
    def shorter(line: dict[str, Any]) -> int:
        return int(min(line["width"], line["height"]))

    by_brightness = sorted(known, key=lambda one: one["brightness"])
    parts = {
        "shorter side under 8 pixels": [one for one in known if shorter(one) < 8],
        "8 to 16 pixels": [one for one in known if 8 <= shorter(one) <= 16],
        "landscape": [one for one in known if one["width"] > 1.1 * one["height"]],
        "darkest third": [one for at, one in enumerate(by_brightness) if at * 3 // len(known) == 0],
    }
    listed = {one["name"]: one for one in found["slices"]}
    assert {"portrait", "about square", "brightest third", "most blurred third"} <= set(listed)
    for name, inside in parts.items():
        low, high = wilson(right(inside), len(inside))
        assert listed[name]["photos"] == len(inside)
        assert listed[name]["accuracy"] == pytest.approx(right(inside) / len(inside))
        assert f"{low:.3f} to {high:.3f}</td>" in page
        assert listed[name]["unknown"] == pytest.approx(sum(one["known"] < 0.9 for one in inside) / len(inside))


def test_the_worst_mistakes_are_the_surest_wrong_answers(known: Lines, found: dict[str, Any], page: str) -> None:
    wrong = [line for line in known if line["best"] != line["true"]]
    surest = sorted((line["scores"][line["best"]] for line in wrong), reverse=True)
    assert [one["confidence"] for one in found["worst"]] == pytest.approx(surest[:24], abs=1e-6)
    assert page.count("<figure>") == min(24, len(wrong))
