"""The report: one page that stands alone and says what was measured."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from trainer.errors import TrainerError
from trainer.evaluation import plots, report
from trainer.evaluation.metrics import Answer, Evaluation
from trainer.evaluation.page import percent
from trainer.evaluation.report.run import Run
from trainer.evaluation.tally import Tally
from trainer.model_card import JSON, Backbone, Card, InputSpec

HISTORY = {
    "head": [{"accuracy": 0.5, "val_accuracy": 0.4, "loss": 1.0, "val_loss": 1.2}] * 3,
    "fine-tuning": [{"accuracy": 0.9, "val_accuracy": 0.8, "loss": 0.2, "val_loss": 0.4}] * 2,
}


def measured(labels: list[str], photo: Path, *, mistakes: int = 3, strangers: int = 5) -> Evaluation:
    tally = Tally(labels)
    for index in range(40):
        true = index % len(labels)
        predicted = (true + 1) % len(labels) if index < mistakes else true
        scores = np.full(len(labels), 0.1 / len(labels), np.float32)
        scores[predicted] = 0.9
        tally.add(Answer(photo, scores, known_score=float(scores.max())), (true,))
    for _ in range(strangers):
        tally.add_stranger(
            Answer(photo, np.full(len(labels), 1 / len(labels), np.float32), known_score=1 / len(labels))
        )
    tally.add(Answer(Path("gone & <b>bad</b>.jpg"), None, "cannot be read"), (0,))
    card = Card("dogs", labels, InputSpec(8, 8), Backbone("tiny", "none"), unknown_threshold=0.5)
    return tally.evaluation(card, Path("models/dogs/2"), "photos")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20), (200, 10, 10)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


class Page(HTMLParser):
    """Checks that tags are closed in the order in which they were opened, and collects headings and attributes."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_has_all_its_parts_and_is_well_formed(photo: Path) -> None:
    page = Page(report.render(measured(["pug", "boxer", "beagle"], photo), Run(HISTORY)))
    assert page.headings == [
        "Accuracy",
        "Loss",
        "Confusion matrix",
        "Most confused",
        "Reliability",
        "Known and unknown",
        "Threshold for unknown",
        "Worst mistakes, most confident first",
        "Classes, lowest F1 first",
        "1 files that cannot be read",
        "Repeat the run",
    ]


def test_figures_have_intervals_and_the_card_says_what_they_are_worth(photo: Path) -> None:
    evaluation = measured(["pug", "boxer", "beagle"], photo)
    # AUROC is 1, of which the bootstrap says nothing; the calibration errors of resamples are too high
    assert set(evaluation.intervals) == {
        "accuracy", "top5_accuracy", "macro_f1", "under_threshold", "false_known_rate",
    }  # fmt: skip
    for name in ("accuracy", "macro_f1"):
        low, high = evaluation.intervals[name]
        assert 0.5 < low < getattr(evaluation, name) < high <= 1
    page = report.render(evaluation, Run())
    assert page.count("95 % interval") == 4

    figures: dict[str, JSON] = {"photos": 40, "accuracy": 0.9, "accuracy_interval": [0.77, 0.96]}
    dense = dataclasses.replace(evaluation.card, metrics={"validation": figures})
    page = report.render(dataclasses.replace(evaluation, card=dense), Run())
    assert "also decided on temperature and threshold: figures on them are optimistic" in page
    dense = dataclasses.replace(dense, training={"settings": {"epochs": 3}})
    page = report.render(dataclasses.replace(evaluation, card=dense), Run())
    assert "also decided on epochs, temperature and threshold: figures on them are optimistic" in page
    dense = dataclasses.replace(dense, label_sets={"coverage": 0.95, "least_score": 0.2})
    page = report.render(dataclasses.replace(evaluation, card=dense), Run())
    assert "threshold and label sets: figures on them are optimistic" in page
    tested: dict[str, JSON] = figures | {"folds": 5, "standard_deviation": 0.02}
    rates: dict[str, JSON] = {
        "known_photos": 40, "known_called_unknown": 0.025, "left_out_photos": 30, "left_out_taken_for_known": 0.1,
        "auroc": 0.97,
    }  # fmt: skip
    card = dataclasses.replace(dense, metrics={"validation": figures, "cross-validation": tested}, unknown_rates=rates)
    page = report.render(dataclasses.replace(evaluation, card=card), Run())
    assert "optimistic" not in page
    assert "accuracy 0.900 (95 % interval 0.770 to 0.960; standard deviation of the folds 0.020)" in page
    assert "10.0% are taken for another class (AUROC 0.970)" in page


def test_nothing_is_fetched_from_anywhere(photo: Path) -> None:
    text = report.render(measured(["pug", "boxer"], photo), Run(HISTORY))
    links = [value for name, value in Page(text).attributes if name in ("src", "href", "srcset", "data")]
    assert links
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert not re.search(r"https?:|url\(|@import|<script [^>]*src", text)


def test_names_cannot_break_out_of_the_page(photo: Path) -> None:
    label = "<script>alert(1)</script> & 'co\""
    text = report.render(measured([label, "pug"], photo), Run(HISTORY))
    assert "<script>alert" not in text
    assert "<b>bad</b>" not in text
    Page(text)


def test_a_perfect_model_and_a_single_stage_of_one_epoch_have_a_page_too(photo: Path) -> None:
    text = report.render(measured(["pug", "boxer"], photo, mistakes=0, strangers=0), Run({"head": HISTORY["head"][:1]}))
    assert "every photo was classified correctly" in text
    assert re.search("100.0%</b><span class='muted'>accuracy<br><small>95 % interval 0.9.. to 1.000", text)
    assert "<b>1.000</b><span class='muted'>macro F1</span>" in text  # a bootstrap of no mistakes says nothing
    assert "Most confused" not in text
    assert "Known and unknown" not in Page(text).headings
    assert "Accuracy" not in Page(report.render(measured(["pug", "boxer"], photo), Run())).headings


def test_a_photo_that_went_away_since_does_not_stop_the_report(photo: Path) -> None:
    evaluation = measured(["pug", "boxer"], photo)
    photo.unlink()
    Page(report.render(evaluation, Run(HISTORY)))


@pytest.mark.parametrize("count", [2, 12, 133])
def test_the_confusion_matrix_can_be_read_at_any_number_of_classes(count: int) -> None:
    labels = [f"Breed number {index}" for index in range(count)]
    confusion = np.diag(np.full(count, 7))
    confusion[0, 1] = 3
    picture = ElementTree.fromstring(plots.confusion_matrix(confusion, labels))  # noqa: S314 - it is our own
    cells = picture.findall("rect")
    assert len(cells) == count + 1  # empty cells are not drawn
    assert min(float(cell.attrib["width"]) for cell in cells) >= 11
    texts = picture.findall("text")
    assert min(float(text.attrib["font-size"]) for text in texts) >= 9
    assert [text.text for text in texts].count("Breed number 1") == 2
    assert "Breed number 0 classified as Breed number 1: 3 of 10 photos" in [
        title.text for title in picture.iter("title")
    ]
    size = float(picture.attrib["width"])
    assert all(float(cell.attrib["x"]) + float(cell.attrib["width"]) <= size for cell in cells)


def test_files_of_the_run_are_read_from_the_model_and_the_folder(tmp_path: Path) -> None:
    assert Run.read(tmp_path, tmp_path) == Run()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "history.json").write_text(json.dumps(HISTORY))
    (tmp_path / "assets.extra" / "config.toml").write_text("views = 2")
    (tmp_path / "data.json").write_text('{"warnings": ["odd"]}')
    assert Run.read(tmp_path, tmp_path) == Run(HISTORY, "views = 2", {"warnings": ["odd"]})
    (tmp_path / "assets.extra" / "history.json").write_text("[1]")
    with pytest.raises(TrainerError, match=r"corrupt.*delete it"):
        Run.read(tmp_path, tmp_path)


def test_the_report_says_what_repeats_the_run_and_what_is_wrong_with_its_photos(photo: Path) -> None:
    evaluation = measured(["pug", "boxer"], photo)
    points: JSON = [{"photos": 10 * 2**at, "tested": 100, "accuracy": 1 - 0.2 / 2**at} for at in range(4)]
    training: dict[str, JSON] = {"photos": {"train": {"pug": 3, "boxer": 4}}, "fingerprint": "12ab"}
    card = dataclasses.replace(evaluation.card, training=training | {"learning_curve": points})
    wrong = {"photo": str(photo), "label": "pug", "suggested": "<boxer>"}
    data = {"warnings": ["class <x> has 1 photo"], "duplicates": ["copy"] * 20, "label_errors": [wrong]}
    text = report.render(dataclasses.replace(evaluation, card=card), Run({}, "views = 2\n# <&>", data))
    page = Page(text)
    assert page.headings[0] == "Learning curve"
    assert re.search(r"0.975 with all. Twice the photos would give about 0.98\d", text)
    assert re.search(r"<title>160 photos: about 0.98\d</title>", text)
    assert "Photos of the training" in page.headings
    for words in ("probably <b class='true'>&lt;boxer&gt;", "class &lt;x&gt;", "and 8 more", "12ab", "views = 2"):
        assert words in text


@pytest.mark.parametrize(
    ("score", "text"),
    [(1.0, "100%"), (0.9999, ">99%"), (0.994, "99%"), (0.5, "50%"), (0.006, "1%"), (0.001, "<1%"), (0.0, "0%")],
)
def test_a_score_is_never_rounded_to_certainty(score: float, text: str) -> None:
    assert percent(score) == text
