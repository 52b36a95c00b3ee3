"""What a run says of the photos that it was trained on."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.config import make
from trainer.data.data_set import DataSet
from trainer.data.photos import Photo
from trainer.data.splits import SPLITS
from trainer.training.cross_validation import CrossValidation
from trainer.training.run_folder import _settings_text, report_labels, run_folder


def test_added_photos_with_a_doubtful_label_are_named_because_check_does_not_read_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [Photo(Path(f"photos/{at}.jpg"), "x", (at % 2,), bytes([at]) * 16, at) for at in range(20)]
    added = [Photo(Path("collected/a.jpg"), "red", (0,), b"a" * 16, 99)]
    data = DataSet(("red", "blue"), {"train": photos + added, "valid": [], "test": []}, added=added)
    labels = np.array([photo.label for photo in data.photos["train"]])
    predicted = labels.copy()
    predicted[[3, 20]] ^= 1  # the models are sure of the other label
    logits = np.where(np.arange(2) == predicted[:, np.newaxis], 9.0, 0.0).astype(np.float32)
    cross_validation = CrossValidation(np.arange(21), logits, labels, [0.9], np.zeros((0, 2), np.float32), {}, [])
    (tmp_path / "data.json").write_text("{}")
    report_labels(data, cross_validation, tmp_path, "my photos")
    out = capsys.readouterr().out
    assert "1 training photos may have a wrong label: breed check 'my photos' shows them" in out
    assert "1 photos of --add may have a wrong label:\n  collected/a.jpg: red, probably blue" in out
    listed = json.loads((tmp_path / "data.json").read_text())["label_errors"]
    assert {one["photo"] for one in listed} == {"photos/3.jpg", "collected/a.jpg"}


@pytest.mark.parametrize("backbone", ["net.keras", "kerashub:preset"])
def test_a_run_on_another_backbone_of_the_same_name_is_another_run(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("preset").mkdir()
    read = Path("net.keras") if backbone == "net.keras" else Path("preset", "model.weights.h5")
    read.write_bytes(b"one")
    config, data = (
        make({"data": "x", "name": "x", "backbone": backbone}),
        DataSet(("a", "b"), {split: [] for split in SPLITS}),
    )
    folder = run_folder(config, data, Path("runs"))
    assert run_folder(config, data, Path("runs")) == folder
    read.write_bytes(b"two")
    assert run_folder(config, data, Path("runs")) != folder


def test_settings_that_were_added_later_count_only_if_they_are_set() -> None:
    values = {"data": "x", "name": "x"}
    assert "tta" not in _settings_text(make(values))
    assert 'tta = "flip"' in _settings_text(make({**values, "tta": "flip"}))
