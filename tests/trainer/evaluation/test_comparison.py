"""Two versions on the same photos: what is counted, what is called a difference, and the page."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.evaluation.test_report import Page
from trainer.errors import TrainerError
from trainer.evaluation import comparison_report
from trainer.evaluation.comparison import Comparison, Prediction, Row, Speed, Version
from trainer.evaluation.intervals import Paired
from trainer.evaluation.sources import find_slices
from trainer.model_card import Backbone, Card, InputSpec


def version(number: int, *labels: str, ms: float = 10.0) -> Version:
    card = Card("dogs", labels, InputSpec(8, 8), Backbone("tiny", "none"), unknown_threshold=0.5)
    return Version(card, Path(f"models/dogs/{number}"), 1000 * number, Speed(ms, ms / 2, 16))


def prediction(label: str, true: str, score: float = 0.9, *, known: bool = True) -> Prediction:
    return Prediction(label, score, score if label == true else 1 - score, known)


def row(true: str, a: str, b: str, *, path: Path = Path("photos/1.jpg"), where: str = "home") -> Row:
    return Row(path, true, prediction(a, true), prediction(b, true), {"folder": where})


def compared(*rows: Row, new: tuple[str, ...] = ()) -> Comparison:
    return Comparison(version(1, "Boxer", "Pug"), version(2, "Boxer", "Pug", *new), ["photos"], rows)


def test_photos_are_counted_by_who_is_right() -> None:
    comparison = compared(
        row("Boxer", "Boxer", "Boxer"), row("Boxer", "Pug", "Boxer"),
        row("Pug", "Pug", "Boxer"), row("Pug", "Boxer", "Boxer"),
    )  # fmt: skip
    assert comparison.right == Paired(4, both=1, better=1, worse=1)
    assert [(group.name, group.right.difference) for group in comparison.classes] == [("Pug", -0.5), ("Boxer", 0.5)]
    assert comparison.disagreement == (2, 4)
    assert [one.true for one in comparison.flipped(better=True)] == ["Boxer"]
    assert [one.true for one in comparison.flipped(better=False)] == ["Pug"]


def test_a_class_that_only_one_version_has_is_told_apart_from_a_gain() -> None:
    rows = [row("Boxer", "Boxer", "Boxer")] * 5 + [row("Shiba", "Pug", "Shiba")] * 5
    comparison = compared(*rows, new=("Shiba",))
    assert comparison.right.difference == 0.5
    assert comparison.right_on_common == Paired(5, both=5, better=0, worse=0)
    assert [group.knows for group in comparison.classes] == ["both", "B"]
    assert comparison.verdict() == "On the 5 photos of classes that both have, both are right on the same photos."


def test_the_verdict_says_whether_a_difference_may_be_chance() -> None:
    same = [row("Boxer", "Boxer", "Boxer")] * 50
    few = compared(*same, *[row("Pug", "Pug", "Boxer")] * 3)
    assert few.verdict().endswith("This may be chance (McNemar's exact test, p = 0.25).")
    many = compared(*same, *[row("Pug", "Pug", "Boxer")] * 12)
    assert "B is worse (McNemar's exact test, p = 0.00049)" in many.verdict()


def test_a_difference_of_accuracies_is_in_percentage_points() -> None:
    comparison = compared(*[row("Boxer", "Boxer", "Boxer")] * 7, row("Pug", "Boxer", "Pug"))
    assert ": +12.5 percentage points of accuracy (95 % interval " in comparison.verdict()
    text = comparison_report.render(comparison)
    assert "<b>+12.5</b><span class='muted'>percentage points: accuracy of B minus that of A" in text
    assert "+12.5 points <small>" in text
    assert "+12.5%" not in text + comparison.verdict()


@pytest.mark.parametrize(("a", "b", "agree"), [(0.9, 0.9, 0.5), (0.98, 0.95, 0.9), (0.6, 0.7, 0.0)])
def test_the_interval_of_a_difference_holds_the_true_one_about_95_times_in_100(
    a: float, b: float, agree: float
) -> None:
    generator = np.random.default_rng(0)
    hits, runs = 0, 1000
    for _ in range(runs):
        first = generator.random(150)
        second = np.where(generator.random(150) < agree, first, generator.random(150))
        low, high = Paired.of(first < a, second < b).interval()
        hits += low <= b - a <= high
    assert hits / runs == pytest.approx(0.95, abs=0.04)


def test_mcnemar_is_the_binomial_test_of_the_photos_that_changed() -> None:
    assert Paired(100, both=90, better=1, worse=9).p_value() == pytest.approx(22 / 2**10)
    assert Paired(100, both=100, better=0, worse=0).p_value() == 1.0
    assert math.isnan(Paired(0, 0, 0, 0).difference)


def test_slices_are_folders_and_the_columns_that_divide(tmp_path: Path) -> None:
    photos = [(tmp_path / "old", "Pug", tmp_path / "old" / "Pug" / f"{at}.jpg") for at in range(3)]
    photos.append((tmp_path / "new", "Pug", tmp_path / "new" / "test" / "Pug" / "park" / "x.jpg"))
    table = tmp_path / "about.csv"
    table.write_text(
        "file,camera,taken,id,note\nPug/0.jpg,phone,2026-01-31T12:00:00Z,1,\nPug/1.jpg,phone,2026-01-01T00:00:00Z,2,\n"
        "x.jpg,camera,2026-02-01T12:00:00+00:00,3,x\n"
    )
    slices = find_slices(photos, table)
    assert slices[photos[0][2]] == {"folder": "old", "camera": "phone", "taken": "2026-01"}
    assert slices[photos[2][2]] == {"folder": "old"}
    assert slices[photos[3][2]] == {"folder": "new/park", "camera": "camera", "taken": "2026-02"}
    table.write_text("taken_by,file,camera\n1,Pug/0.jpg,phone,?\n2\n3,Pug/1.jpg,phone\n4,x.jpg,camera\n")
    assert find_slices(photos, table)[photos[0][2]] == {"folder": "old", "camera": "phone"}
    table.write_text("camera\nphone\n")
    with pytest.raises(TrainerError, match="no column of files"):
        find_slices(photos, table)


def test_the_page_and_the_json_show_every_part(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (30, 20), (200, 10, 10)).save(photo)
    rows = [row("Boxer", "Boxer", "Boxer")] * 20
    rows += [row("Boxer & <i>", "Boxer & <i>", "Pug", path=photo), row("Pug", "Boxer", "Pug", path=photo, where="park")]
    others = [(prediction("Pug", "", known=True), prediction("Pug", "", known=False))] * 3
    comparison = Comparison(
        version(1, "Boxer", "Pug", "Boxer & <i>"), version(2, "Boxer", "Pug", "Boxer & <i>", "Shiba"), ["photos"], rows,
        others, ["gone & <b>: cannot be read"],
    )  # fmt: skip
    text = comparison_report.render(comparison)
    page = Page(text)
    assert page.headings == [
        "Versions", "Classes, largest loss first", "Slices: folder",
        "Reliability of A: dogs 1", "Reliability of B: dogs 2", "Worse: A was right, B is wrong",
        "Better: A was wrong, B is right", "1 files that cannot be read",
    ]  # fmt: skip
    assert text.count("data:image/jpeg;base64,") == 2
    assert "new: Shiba" in text
    assert "<i>:" not in text
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert content["accuracy"]["photos"] == 22
    assert content["others_unknown"]["better"] == 3
    assert content["worse"][0]["photo"] == str(photo)
    assert content["disagreement"]["differ"] == 2
    assert {one["name"] for one in content["slices"]["folder"]} == {"home", "park"}
