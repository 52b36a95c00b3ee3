"""What a gate refuses, and in which words."""

import dataclasses
from pathlib import Path

import pytest

from tests.trainer.evaluation.test_comparison import row, version
from trainer.errors import TrainerError
from trainer.evaluation.comparison import Comparison, Row, Speed
from trainer.registry.gate import Gate, pass_gate, read_gate, refusals

PHOTOS = (Path("photos"),)


def compared(rows: list[Row], *, ms: float = 10.0, labels: tuple[str, ...] = ("Boxer", "Pug")) -> Comparison:
    new = dataclasses.replace(version(2, *labels), speed=Speed(ms, ms, 16))
    return Comparison(version(1, "Boxer", "Pug"), new, ["photos"], rows)


def rows(*, same: int = 0, better: int = 0, worse: int = 0, label: str = "Boxer") -> list[Row]:
    other = "Pug" if label == "Boxer" else "Boxer"
    kept, gained, lost = row(label, label, label), row(label, other, label), row(label, label, other)
    return [kept] * same + [gained] * better + [lost] * worse


def test_an_equal_version_passes_if_there_are_enough_photos_to_tell() -> None:
    gate = Gate(PHOTOS, min_photos=300, max_accuracy_loss=0.01, max_class_loss=0.0, max_latency_ratio=1.0)
    assert refusals(gate, compared(rows(same=300))) == []


def test_too_few_photos_leave_open_whether_accuracy_was_lost() -> None:
    few, open_question = refusals(Gate(PHOTOS), compared(rows(same=60)))
    assert few == "there are 60 photos of classes that both versions have, fewer than 100"
    assert "only a loss of more than 4.3 percentage points can be ruled out" in open_question
    assert open_question.endswith("1.0 percentage points are allowed; more photos may decide")


def test_a_clear_loss_is_refused_with_all_reasons() -> None:
    gate = Gate(PHOTOS, max_class_loss=0.1, max_latency_ratio=1.2, min_accuracy=0.99)
    comparison = compared(rows(same=150, worse=30) + rows(same=20, better=2, label="Pug"), ms=15)
    accuracy, loss, boxer, latency = refusals(gate, comparison)
    assert accuracy == "its accuracy is 85.1%, less than 99.0%"
    assert loss.startswith("its accuracy on 202 photos is 85.1%, and 99.0% before: with a confidence of 95%, only a")
    assert "more photos" not in loss
    assert boxer == (
        "its accuracy on class 'Boxer' fell from 100.0% to 83.3%, on 180 photos; 10.0 percentage points are allowed"
    )
    assert latency == "a call with one photo takes 15.0 ms, and 10.0 ms before: 1.50 times as long, and 1.2 is allowed"


def test_a_class_that_is_gone_is_a_loss_and_a_new_one_is_no_gain() -> None:
    gate = Gate(PHOTOS, min_photos=1, max_accuracy_loss=None, max_class_loss=0.2)
    gone = compared(rows(same=10) + [row("Pug", "Pug", "Boxer")] * 5, labels=("Boxer",))
    assert [reason[:42] for reason in refusals(gate, gone)] == ["its accuracy on class 'Pug' fell from 100."]
    new = compared(rows(same=10, worse=1) + [row("Shiba", "Pug", "Shiba")] * 500, labels=("Boxer", "Pug", "Shiba"))
    loss = dataclasses.replace(gate, max_accuracy_loss=0.05, max_class_loss=None)
    assert "its accuracy on 11 photos is 90.9%, and 100.0% before" in refusals(loss, new)[0]


def test_a_gate_is_a_file_whose_folders_are_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('photos = ["test", "corrected"]\nmin_photos = 200\nmax_latency_ratio = 1.5\nagainst = "stable"\n')
    gate = read_gate(file)
    assert gate.photos == (tmp_path / "test", tmp_path / "corrected")
    assert (gate.min_photos, gate.max_latency_ratio, gate.against, gate.max_accuracy_loss) == (200, 1.5, "stable", 0.01)


def test_a_label_to_compare_with_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('photos = "test"\nagainst = "stabel"\n')
    with pytest.raises(TrainerError, match="dogs has no label 'stabel' to compare with; labels: canary, stable"):
        pass_gate(file, tmp_path, "dogs", 3, "canary", {"stable": 1, "canary": 2}, force=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_photos = 3", "photos must be a folder or a list of folders"),
        ('photos = "x"\nmax_loss = 3', "unknown key 'max_loss'; the keys are photos, min_photos"),
        ('photos = "x"\nmax_class_loss = 5', "max_class_loss must be a number from 0 to 1, not 5"),
        ('photos = "x"\nmin_photos = "many"', "min_photos must be a number from 1 to 1e+09, not 'many'"),
        ('photos = "x"\nagainst = 1', "against must be a label, not 1"),
        ("photos", "cannot read the gate"),
    ],
)
def test_a_mistake_in_a_gate_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(TrainerError, match=message.replace("+", r"\+")):
        read_gate(tmp_path / "gate.toml")
