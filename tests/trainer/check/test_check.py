"""The command `check` on a folder with known problems."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder, picture
from trainer.check import page
from trainer.check.check import _sizes, summary
from trainer.check.findings import PROBLEMS, Findings, PhotoFinding
from trainer.data.data_set import Contents
from trainer.data.photos import Photo
from trainer.data.quality import measure, measure_all
from trainer.errors import TrainerError
from trainer.training import bottleneck_features as features

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


COLOURS = {"red": (230, 30, 30), "green": (30, 230, 30), "blue": (30, 30, 230), "yellow": (220, 220, 40)}


def photo(colour: str, seed: int) -> Image.Image:
    """A picture in focus."""
    noise = np.random.default_rng(seed).integers(-40, 40, (48, 48, 1))
    return Image.fromarray((picture(COLOURS[colour], seed).astype(int) + noise).clip(0, 255).astype(np.uint8))


def write(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    for at, (colour, count) in enumerate(counts.items()):
        (folder / colour).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            photo(colour, 1000 * at + number).save(folder / colour / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def test_each_problem_of_a_folder_is_found(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "photos"
    write(data / "train", {"red": 30, "green": 30, "blue": 30, "yellow": 2})
    write(data / "valid", {"red": 5, "green": 5, "blue": 5}, first=500)
    train = data / "train"
    photo("red", 9000).save(train / "green" / "wrong.png")
    (train / "blue" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    shutil.copy(train / "red" / "1.png", train / "red" / "again.png")
    shutil.copy(train / "red" / "2.png", data / "valid" / "red" / "leak.png")
    shutil.copy(train / "red" / "3.png", train / "green" / "both.png")
    ImageOps.mirror(Image.open(train / "blue" / "4.png")).resize((64, 64)).save(data / "valid" / "blue" / "mirror.png")
    Image.new("RGB", (64, 64), (30, 30, 200)).save(train / "blue" / "flat.png")
    (train / "red" / "odd.jpg").write_bytes((train / "red" / "5.png").read_bytes())
    (train / "red" / "5.png").unlink()
    for number in range(12):  # hardly to be told from blue
        (train / "navy").mkdir(exist_ok=True)
        photo("blue", 7000 + number).save(train / "navy" / f"{number}.png")
    (train / "empty").mkdir()
    (train / "broken").mkdir()
    (train / "broken" / "1.jpg").write_text("no photo")

    command = ("check", data, "--output", tmp_path / "out", "--cache-dir", tmp_path / "cache", *tiny.OPTIONS)
    status, out, error = trainer(*command)
    assert status == 0, error
    findings: dict[str, Any] = json.loads((tmp_path / "out" / "check.json").read_text())

    def files(problem: str) -> set[str]:
        return {Path(one["photo"]).name for one in findings["photos"] if one["problem"] == problem}

    assert files("unreadable") == {"cut.jpg", "1.jpg"}
    assert files("misnamed") == {"odd.jpg"}
    assert files("duplicate") == {"again.png"}
    assert files("leak") == {"leak.png"}
    [mirror] = [one for one in findings["photos"] if one["problem"] == "mirrored"]
    assert (Path(mirror["photo"]).name, Path(mirror["other"]).name) == ("mirror.png", "4.png")
    assert mirror["detail"] == "the mirror image is in train, this photo in valid"
    assert files("two_classes") == {"3.png"}  # of the two, the first is kept
    suggested = {Path(one["photo"]).name: one["suggested"] for one in findings["photos"] if one["problem"] == "label"}
    assert (suggested["wrong.png"], suggested["both.png"]) == ("red", "red")
    assert files("empty") == {"flat.png"}
    assert files("outlier")  # of random features: which ones they should be is tested with labels
    [alike] = [one for one in findings["classes"] if set(one["labels"]) == {"blue", "navy"}]
    assert alike["problem"] in {"alike", "inseparable"}
    assert {(one["problem"], *one["labels"]) for one in findings["classes"]} >= {("few", "yellow"), ("none", "broken")}
    assert "ignoring the empty class folder" in findings["warnings"][0]
    page = (tmp_path / "out" / "check.html").read_text()
    assert "Probably a wrong label" in page
    assert page.count("<img") >= 9
    assert "green/wrong.png (green): red" in out
    assert f"repeat breed check {data}, or go on: breed train {data} --name NAME" in out

    monkeypatch.setattr(features, "BATCH_SIZE", 0)  # again: nothing is computed by the backbone
    assert trainer(*command)[0] == 0


def test_a_class_with_a_tenth_of_the_photos_of_another_is_named() -> None:
    def contents(*counts: int) -> Contents:
        photos = [Photo(Path("x"), "x", (label,), b"", 0) for label, count in enumerate(counts) for _ in range(count)]
        return Contents(("a", "b"), [(None, photo) for photo in photos], [], [])

    [finding] = _sizes(contents(110, 11))
    assert (finding.problem, finding.labels, finding.detail) == (
        "unbalanced",
        ["b"],
        "11 photos; the largest class has 110",
    )
    assert _sizes(contents(109, 11)) == []
    assert [one.problem for one in _sizes(contents(10, 9))] == ["few"]
    assert [one.problem for one in _sizes(contents(10, 0))] == ["none"]


def test_a_folder_without_problems_has_none(trainer: Trainer, tmp_path: Path) -> None:
    data = write(tmp_path / "photos", {"red": 12, "green": 12, "blue": 12})
    status, out, error = trainer("check", data, "--output", tmp_path, "--cache-dir", tmp_path / "cache", *tiny.OPTIONS)
    assert status == 0, error
    assert "no problems found" in out
    assert f"next: breed train {data} --name NAME" in out
    assert "No problems found" in (tmp_path / "check.html").read_text()


def test_names_cannot_break_out_of_the_page(trainer: Trainer, tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "photos", {"<script>x": 3, "a&b": 3})
    (data / "a&b" / "<b>.jpg").write_text("no photo")
    assert trainer("check", data, "--output", tmp_path, "--cache-dir", tmp_path / "cache", *tiny.OPTIONS)[0] == 0
    page = (tmp_path / "check.html").read_text()
    assert "<script>x" not in page
    assert "&lt;b&gt;.jpg" in page


def test_measures_tell_sharp_from_blurred_and_colour_from_grey(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (60, 90, 3), np.uint8))
    sharp = coarse.resize((900, 600), Image.Resampling.BICUBIC)

    def saved(image: Image.Image) -> bytes:
        image.save(tmp_path / "x.png")
        return (tmp_path / "x.png").read_bytes()

    quality = measure(saved(sharp))
    assert (quality.width, quality.height) == (900, 600)
    assert quality.colour > 20
    blurred = measure(saved(sharp.filter(ImageFilter.GaussianBlur(20))))
    assert blurred.sharpness < quality.sharpness / 3
    assert measure(saved(sharp.convert("L"))).colour == 0
    assert measure(saved(Image.new("RGB", (10, 10), (255, 255, 255)))).brightness > 254


@pytest.mark.parametrize("content", [None, b"something else"], ids=["deleted", "replaced"])
def test_a_photo_that_changes_while_it_is_checked_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "1.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainerError, match=r"1\.jpg was readable at first .* Run the same command again"):
        measure_all([Photo(path, "red", (0,), b"k" * 16, 0)], tmp_path / "cache", 1)


def test_another_label_is_called_probable_and_never_certain() -> None:
    wrong = [PhotoFinding("label", Path(f"{at}.jpg"), "red", "blue >99%, red <1%", suggested="blue") for at in range(7)]
    findings = Findings("photos", {"red": 7, "blue": 7}, 0.5, wrong, [], [])
    assert "<b class='said'>red</b>, probably <b class='true'>blue</b>" in page.render(findings)
    assert summary(findings).splitlines()[1:3] == [
        f"Probably a wrong label: 7. {PROBLEMS['label'][1]}", "  0.jpg (red): blue >99%, red <1%",
    ]  # fmt: skip
    assert summary(findings).endswith("  and 2 more")
