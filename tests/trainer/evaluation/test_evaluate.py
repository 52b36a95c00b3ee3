"""Evaluation of an exported SavedModel over folders of photos, checked against figures worked out by hand."""

import argparse
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.evaluation.colours import COLOURS, paint
from trainer.data.class_names import match_folders, read_mapping
from trainer.data.folders import list_classes, list_files
from trainer.errors import TrainerError
from trainer.evaluation import evaluate as command
from trainer.evaluation.metrics import Evaluation

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def evaluate(*arguments: object, **options: object) -> Evaluation:
    evaluation = command.evaluate(*arguments, **options)  # type: ignore[arg-type]
    assert isinstance(evaluation, Evaluation)
    return evaluation


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos a class, all right but for one green hound among the red setters, and one grey."""
    folder = tmp_path / "photos"
    for label, colour in COLOURS.items():
        for index in range(4):
            paint(folder / label / f"{index}.png", colour)
    paint(folder / "Red Setter" / "0.png", COLOURS["Green Hound"])
    paint(folder / "Blue Spitz" / "1.png", (120, 120, 121))
    return folder


def test_figures_are_those_of_the_photos(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    evaluation = evaluate(model_dir, photos, unknown=None, output=tmp_path / "out")
    assert evaluation.photos == 12
    assert evaluation.accuracy == pytest.approx(11 / 12)
    assert evaluation.top5_accuracy == 1.0
    assert evaluation.confusion.tolist() == [[3, 1, 0], [0, 4, 0], [0, 0, 4]]
    red, green, blue = evaluation.classes
    assert (red.precision, red.recall, red.f1) == pytest.approx((1.0, 0.75, 6 / 7))
    assert (green.precision, green.recall, green.f1) == pytest.approx((0.8, 1.0, 8 / 9))
    assert (blue.photos, blue.f1) == (4, 1.0)
    assert evaluation.macro_f1 == pytest.approx((6 / 7 + 8 / 9 + 1) / 3)
    assert evaluation.threshold_rate == pytest.approx(1 / 12)
    assert evaluation.unknown is None


def test_the_worst_mistake_says_what_was_said_and_what_was_true(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    (worst,) = evaluate(model_dir, photos, unknown=None, output=tmp_path / "out").worst
    assert (worst.path, worst.said, worst.true) == (photos / "Red Setter" / "0.png", "Green Hound", "Red Setter")
    assert worst.confidence > 0.99 > 0.01 > worst.true_score


def test_the_files_written_agree_with_what_is_returned(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    evaluation = evaluate(model_dir, photos, unknown=None, output=tmp_path / "deep" / "out")
    written = json.loads((tmp_path / "deep/out/evaluation.json").read_text())
    assert written["accuracy"] == evaluation.accuracy
    assert written["intervals"]["accuracy"] == list(evaluation.intervals["accuracy"])
    assert written["confusion"] == evaluation.confusion.tolist()
    assert [one["label"] for one in written["classes"]] == list(COLOURS)
    assert sum(one["photos"] for one in written["reliability"]) == 12
    assert (tmp_path / "deep/out/report.html").read_text().startswith("<!doctype html>")


def test_the_figures_can_be_read_while_they_are_written_again(
    model_dir: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(model_dir, photos, unknown=None, output=tmp_path)
    write, read = Path.write_text, []

    def write_in_two_steps(path: Path, text: str, encoding: str) -> int:
        write(path, text[:100], encoding)
        read.append(json.loads((tmp_path / "evaluation.json").read_text())["photos"])
        return write(path, text, encoding)

    monkeypatch.setattr(Path, "write_text", write_in_two_steps)
    evaluate(model_dir, photos, unknown=None, output=tmp_path)
    assert set(read) == {12}


def test_other_things_are_told_apart_by_their_best_score(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "Blue Spitz" / "1.png").unlink()
    paint(photos / "Red Setter" / "1.png", (50, 10, 10))  # logits of 5, 1 and 1: a score of 0.965
    for index, colour in enumerate([(100, 100, 100), (90, 95, 90), (0, 0, 0), (60, 10, 10)]):  # the last: 0.987
        paint(tmp_path / "others" / "below" / f"{index}.png", colour)
    unknown = evaluate(model_dir, photos, unknown=tmp_path / "others", output=tmp_path / "out").unknown
    assert unknown is not None
    assert unknown.photos == 4
    assert unknown.false_unknown_rate == 0.0
    assert unknown.false_known_rate == 0.25
    assert unknown.auroc == pytest.approx(43 / 44)  # of 11 x 4 pairs, the last beats the dark red setter
    assert (sum(unknown.known_counts), sum(unknown.unknown_counts)) == (11, 4)


def test_files_that_are_no_photos_are_listed_and_skipped(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "Red Setter" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (photos / "Red Setter" / "notes.txt").write_text("not a photo")
    (photos / "Red Setter" / ".DS_Store").write_text("hidden")
    evaluation = evaluate(model_dir, photos, unknown=None, output=tmp_path / "out")
    assert evaluation.photos == 12
    assert [Path(line.split(": ")[0]).name for line in evaluation.unreadable] == ["broken.jpg", "notes.txt"]


def test_what_tensorflow_cannot_decode_costs_the_others_of_its_batch_nothing(
    model_dir: Path, photos: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 12), COLOURS["Blue Spitz"]).save(photos / "Blue Spitz" / "9.tiff")
    evaluation = evaluate(model_dir, photos, unknown=None, output=tmp_path / "out", signature="serving_default")
    assert evaluation.photos == 12
    assert evaluation.accuracy == pytest.approx(11 / 12)
    assert [line.split(": ")[0] for line in evaluation.unreadable] == ["Blue Spitz/9.tiff"]
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["signature"] == "serving_default"


def test_every_photo_has_a_line_of_what_was_said_of_it(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "Red Setter" / "broken.jpg").write_text("no")
    paint(tmp_path / "others" / "grey.png", (100, 100, 100))
    evaluate(model_dir, photos, unknown=tmp_path / "others", output=tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    by_photo = {line["photo"]: line for line in lines}
    assert len(by_photo) == len(lines) == 14
    wrong = by_photo[str(photos / "Red Setter" / "0.png")]
    assert (wrong["true"], next(iter(wrong["scores"]))) == ("Red Setter", "Green Hound")
    assert sum(wrong["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert "error" in by_photo[str(photos / "Red Setter" / "broken.jpg")]
    assert by_photo[str(tmp_path / "others" / "grey.png")]["true"] is None


def test_a_folder_without_one_readable_photo_is_an_error(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "Red Setter").mkdir(parents=True)
    (tmp_path / "photos" / "Red Setter" / "a.jpg").write_text("no")
    with pytest.raises(TrainerError, match="no photo in"):
        evaluate(model_dir, tmp_path / "photos", unknown=None, output=tmp_path / "out")


def test_more_photos_than_fit_into_memory_at_once_are_all_answered_in_order(model_dir: Path, tmp_path: Path) -> None:
    labels = list(COLOURS)
    for index in range(150):
        paint(tmp_path / "photos" / labels[index % 3] / f"{index:03d}.png", COLOURS[labels[index % 3]])
    evaluation = evaluate(model_dir, tmp_path / "photos", unknown=None, output=tmp_path / "out")
    assert (evaluation.photos, evaluation.accuracy) == (150, 1.0)


def test_the_newest_version_is_taken_when_the_model_is_given(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    assert evaluate(model_dir.parent, photos, unknown=None, output=tmp_path / "out").model == model_dir


def test_what_is_no_model_is_said_to_be_none(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="holds no SavedModel"):
        evaluate(tmp_path / "nothing", photos, unknown=None, output=tmp_path / "out")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(TrainerError, match="cannot be loaded"):
        evaluate(tmp_path / "1", photos, unknown=None, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("001.Affenpinscher", "affenpinscher"),
        ("saint_bernard", "Saint Bernard"),
        ("Saint Bernard", "Saint Bernard"),
        ("n02109525-Saint_Bernard", "Saint Bernard"),
        ("black and tan coonhound", "black-and-tan_coonhound"),
    ],
)
def test_folder_names_are_matched_however_they_are_spelled(folder: str, label: str) -> None:
    labels = ["Saint Bernard", "affenpinscher", "black-and-tan_coonhound"]
    assert match_folders([folder], labels, {}) == {folder: labels.index(label)}


def test_an_exact_name_wins_over_a_loose_one() -> None:
    assert match_folders(["pug", "PUG"], ["PUG", "pug"], {}) == {"pug": 1, "PUG": 0}
    with pytest.raises(TrainerError, match="no class of the model matches Pug;"):
        match_folders(["Pug"], ["PUG", "pug"], {})


def test_all_folders_that_match_nothing_are_named_at_once() -> None:
    with pytest.raises(TrainerError, match="matches cats, mice; its classes are pug, boxer"):
        match_folders(["pug", "cats", "mice"], ["pug", "boxer"], {})
    with pytest.raises(TrainerError, match=r"matches scottish_terrier \(Scotch terrier\?\); its classes are"):
        match_folders(["scottish_terrier"], ["pug", "Scotch terrier", "toy terrier"], {})


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "pug.png", (1, 2, 3))
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "dogs").symlink_to(tmp_path / "photos")
    assert list_files(tmp_path / "linked") == [tmp_path / "linked/dogs/pug.png"]


def test_a_folder_of_other_things_without_any_is_an_error(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainerError, match="is empty; it should contain photos of other things"):
        evaluate(model_dir, photos, unknown=tmp_path / "none", output=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [("map.toml", 'scottish_terrier = "Scotch_terrier"'), ("map.json", '{"scottish_terrier": "Scotch_terrier"}')],
)
def test_a_map_gives_folders_their_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    mapping = read_mapping(tmp_path / name)
    assert match_folders(["scottish_terrier"], ["pug", "Scotch_terrier"], mapping) == {"scottish_terrier": 1}
    with pytest.raises(TrainerError, match="mapped to Scotch_terrier"):
        match_folders(["scottish_terrier"], ["pug"], mapping)


@pytest.mark.parametrize("text", ["not = [toml", 'pug = ["a"]'])
def test_a_map_that_is_no_table_of_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(TrainerError, match=r"map\.toml"):
        read_mapping(tmp_path / "map.toml")


def test_a_divided_folder_is_measured_on_its_test_split_unless_told(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        paint(tmp_path / split / "pug" / f"{split}.png", (1, 2, 3))
    assert list_classes(tmp_path) == {"pug": [tmp_path / "test/pug/test.png"]}
    assert list_classes(tmp_path, "valid") == {"pug": [tmp_path / "valid/pug/valid.png"]}
    with pytest.raises(TrainerError, match="has no class folders"):
        list_classes(tmp_path / "train" / "pug")


def test_the_command_prints_the_figures_and_where_the_report_is(
    model_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = [str(model_dir), str(photos), "--output", str(tmp_path / "out")]
    assert command.run(parser.parse_args(arguments)) == 0
    out = capsys.readouterr().out
    number = r"\d\.\d{3}"
    sure = rf" \[{number}, {number}\]"
    figures = ", ".join(rf"{one} {number}{sure}" for one in ("accuracy", "top-5", "macro F1"))
    assert re.search(f"12 photos: {figures}, expected calibration error {number}; in brackets 95 % intervals", out)
    assert re.search(rf"threshold 0\.9: {number}{sure} of them are unknown", out)
    assert str(tmp_path / "out" / "report.html") in out
