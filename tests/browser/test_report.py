"""The report of an evaluation in a browser: its size, slider, dark mode and print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testing.chromium import Chromium
from trainer.data.quality import Quality
from trainer.evaluation import report
from trainer.evaluation.metrics import Answer, Evaluation
from trainer.evaluation.report.run import Run
from trainer.evaluation.tally import Tally
from trainer.model_card import Backbone, Card, InputSpec

CLASSES = 133
PHOTOS = 10_000
ELEMENTS = 7_500
BYTES = 2_800_000
"""Half as much again as the report has. It opened in 0.26 s, as measured with Chromium on two cores."""


def evaluated(folder: Path) -> Evaluation:
    """Answers of a model that is wrong for one photo in eight, and scores of photos of other things."""
    generator = np.random.default_rng(0)
    photos = [folder / f"{at}.jpg" for at in range(12)]
    for path in photos:
        coarse = Image.fromarray(generator.integers(0, 256, (24, 24, 3), np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(path)
    labels = [f"breed with a name {at}" for at in range(CLASSES)]
    tally = Tally(labels, 0.1)
    for at in range(PHOTOS):
        true = at % CLASSES
        predicted = true if at % 8 else int(generator.integers(CLASSES))
        confidence = float(generator.uniform(0.3, 0.99))
        scores = np.full(CLASSES, (1 - confidence) / CLASSES, np.float32)
        scores[predicted] = confidence
        quality = Quality(int(generator.integers(100, 900)), 300, *generator.uniform(0.1, 100, 4))
        tally.add(Answer(photos[at % 12], scores, known_score=confidence), (true,), quality)
    for _ in range(PHOTOS // 10):
        tally.add_stranger(Answer(photos[0], scores, known_score=float(generator.uniform(0, 0.6))))
    card = Card(
        "dogs",
        labels,
        InputSpec(260, 260),
        Backbone("tiny", "none"),
        unknown_threshold=0.5,
        label_sets={"coverage": 0.95, "least_score": 0.1},
    )
    return tally.evaluation(card, Path("models/dogs/2"), "photos")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of many classes and photos."""
    folder = tmp_path_factory.mktemp("large")
    history = {"head": [{"accuracy": 0.5, "val_accuracy": 0.4, "loss": 1.0, "val_loss": 1.2}] * 20}
    page = folder / "report.html"
    page.write_text(report.render(evaluated(folder), Run(history, "views = 2")), encoding="utf-8")
    return page


def test_a_report_of_133_classes_and_10000_photos_stays_small_enough_to_open_at_once(
    large: Path, chromium: Chromium
) -> None:
    chromium.screen(1390, 900)
    chromium.get(large.as_uri())
    assert len(chromium.find_elements("css selector", "tr")) > CLASSES
    assert int(chromium.execute_script("return document.getElementsByTagName('*').length")) < ELEMENTS
    assert large.stat().st_size < BYTES
    chromium.get("about:blank")


def test_the_slider_shows_the_rates_at_its_threshold_and_paper_has_none(large: Path, chromium: Chromium) -> None:
    chromium.prefers("light")
    chromium.get(large.as_uri())

    def rates() -> dict[str, str]:
        cells = chromium.find_elements("css selector", "[data-rate]")
        return {cell.get_dom_attribute("data-rate"): cell.get_attribute("textContent") or "" for cell in cells}

    def line() -> float:
        path = chromium.find_element("id", "chosen").get_dom_attribute("d")
        return float(path[1:].split()[0])

    before, place = rates(), line()
    assert before["thresholds"] == "0.500"
    chromium.execute_script(
        "const slider = document.getElementById('threshold');"
        "slider.value = 160; slider.dispatchEvent(new Event('input'));"
    )
    after = rates()
    curve = chromium.execute_script("return JSON.parse(document.getElementById('curve').textContent)")
    assert after == {key: "0.800" if key == "thresholds" else f"{100 * curve[key][160]:.1f} %" for key in curve}
    assert float(after["unknown"][:-2]) > float(before["unknown"][:-2])
    assert line() > place
    slider = chromium.find_element("id", "threshold")
    assert slider.is_displayed()
    chromium.print_view(on=True)
    assert not slider.is_displayed()
    chromium.print_view(on=False)
    chromium.get("about:blank")


def test_the_report_is_dark_where_pages_are_and_white_on_paper(large: Path, chromium: Chromium) -> None:
    colours = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"

    def lightness() -> list[float]:
        channels = chromium.execute_script(colours)
        return [sum(map(int, colour.strip("rgb()").split(","))) / 3 for colour in channels]

    chromium.prefers("light")
    chromium.get(large.as_uri())
    page, text = lightness()
    assert page > 200 > 60 > text
    chromium.prefers("dark")
    page, text = lightness()
    assert page < 60 < 200 < text
    chromium.print_view(on=True)
    assert lightness() == [255, 0]
    chromium.print_view(on=False)
    chromium.prefers("light")
    chromium.get("about:blank")
