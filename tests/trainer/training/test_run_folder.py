"""What a run says of the photos that it was trained on."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.data.data_set import DataSet
from trainer.data.photos import Photo
from trainer.training.cross_validation import CrossValidation
from trainer.training.run_folder import report_labels


def test_added_photos_with_a_doubtful_label_are_named_because_check_does_not_read_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [Photo(Path(f"photos/{at}.jpg"), "x", (at % 2,), bytes([at]) * 16, at) for at in range(20)]
    added = [Photo(Path("collected/a.jpg"), "red", (0,), b"a" * 16, 99)]
    data = DataSet(("red", "blue"), {"train": photos + added, "valid": [], "test": []}, added=added)
    labels = np.array([photo.label for photo in data.photos["train"]])
    said = labels.copy()
    said[[3, 20]] ^= 1  # the models are sure of the other label
    logits = np.where(np.arange(2) == said[:, np.newaxis], 9.0, 0.0).astype(np.float32)
    found = CrossValidation(np.arange(21), logits, labels, [0.9], np.zeros((0, 2), np.float32), {}, [])
    (tmp_path / "data.json").write_text("{}")
    report_labels(data, found, tmp_path, "my photos")
    out = capsys.readouterr().out
    assert "1 training photos may have a wrong label: breed check 'my photos' shows them" in out
    assert "1 photos of --add may have a wrong label:\n  collected/a.jpg: red, probably blue" in out
    listed = json.loads((tmp_path / "data.json").read_text())["label_errors"]
    assert {one["photo"] for one in listed} == {"photos/3.jpg", "collected/a.jpg"}
