"""From a folder with deliberate problems to a promoted version, by what the commands say."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from testing.polling import DEADLINE_SECONDS
from testing.polling_server import PollingServer, labels
from tests.trainer import tiny
from tests.trainer.check.test_check import photo, write
from tests.trainer.registry.conftest import config, server

__all__ = ["config", "server"]

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.slow,
]


def messy(data: Path) -> Path:
    """A folder with the problems that people's folders have."""
    train, valid = write(data / "train", {"red": 24, "green": 24, "blue": 24}), data / "valid"
    write(valid, {"red": 8, "green": 8, "blue": 8}, first=500)
    photo("red", 9000).save(train / "green" / "wrong.png")
    shutil.copy(train / "red" / "2.png", valid / "red" / "leak.png")
    shutil.copy(train / "red" / "3.png", train / "green" / "both.png")
    shutil.copy(train / "blue" / "4.png", train / "blue" / "again.png")
    (train / "blue" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (train / "blue" / "notes.txt").write_text("taken in May")
    Image.new("RGB", (64, 64), (30, 30, 200)).save(train / "blue" / "flat.png")
    (train / "red" / "5.png").rename(train / "red" / "5.jpg")
    (train / "empty").mkdir()
    (train / "rare").mkdir()
    for number in (0, 1):
        photo("yellow", 4000 + number).save(train / "rare" / f"{number}.png")
    (train / "red" / ".DS_Store").write_bytes(b"Bud1")
    (data / "labels.csv").write_text("file,label\n1.png,red\n")
    return data


SENTENCES = (
    r"Probably a wrong label: \d+\. .* move it if its label is wrong\.\n  .*green/wrong\.png \(green\): red",
    r"Same picture in two splits: 1\. .* breed train leaves them out\.\n  .*valid/red/leak\.png",
    r"Same picture in two classes: 1\. .*\n  .*\.png .* is in '\w+' and in '\w+'",
    r"Same picture twice: 1\. breed train keeps one .*\n  .*\.png",
    r"Cannot be read: 2\. breed train leaves these files out\. .*\n  .*(cut\.jpg|notes\.txt)",
    r"Nearly empty: 1\. .*\n  .*flat\.png",
    r"Name of another format: 1\. .* Rename these files\.\n  .*5\.jpg \(red\): the name ends in \.jpg",
    r"ignoring the empty class folder .*empty",
    r"too few photos: rare: 2 photos",
    r"\.DS_Store is a hidden or system file, which is not read",
    r"the labels in .*labels\.csv are not read, because the folders name the classes",
    r"next: correct the folders and repeat breed check .*, or go on: breed train .* --name NAME",
)


def correct(data: Path, findings: dict[str, list[dict[str, str]]]) -> None:
    """Does what the report says."""
    for one in findings["photos"]:
        path = Path(one["photo"])
        if not path.exists():  # deleted for another reason already
            continue
        if one["problem"] in {"unreadable", "leak", "duplicate", "two_classes", "empty"}:
            path.unlink()
        elif one["problem"] == "misnamed":
            path.rename(path.with_suffix(".png"))
        elif one["problem"] == "label":
            path.rename(path.parent.parent / one["suggested"] / path.name)
    (data / "train" / "empty").rmdir()
    shutil.rmtree(data / "train" / "rare")
    (data / "labels.csv").unlink()


def test_a_newcomer_is_led_from_a_messy_folder_to_a_promoted_version(
    trainer: Callable[..., tuple[int, str, str]],
    server: tuple[PollingServer, str],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny.add(monkeypatch)
    data = messy(tmp_path / "photos")
    check = ("check", data, "--output", tmp_path / "out", "--cache-dir", tmp_path / "cache", *tiny.OPTIONS)

    status, out, error = trainer(*check)
    assert status == 0, error
    for sentence in SENTENCES:
        assert re.search(sentence, out), sentence

    status, out, error = trainer("train", data, "--name", "dogs", *tiny.OPTIONS)
    assert status == 0, error
    assert f"training photos may have a wrong label: breed check {data} shows them" in out
    assert "published as dogs version 1" in out

    correct(data, json.loads((tmp_path / "out" / "check.json").read_text()))
    status, out, error = trainer(*check)
    assert status == 0, error
    for title in ("Cannot be read", "Same picture", "Name of another format", "Nearly empty", "too few", "empty class"):
        assert title not in out
    status, out, error = trainer("train", data, "--name", "dogs", *tiny.OPTIONS)
    assert status == 0, error
    assert "published as dogs version 2" in out

    models = ("--models-dir", tmp_path / "models")
    compare = ("compare", "dogs/1", "dogs/2", data, "--seconds", "0", "--output", tmp_path / "compared", *models)
    status, out, error = trainer(*compare)
    assert status == 0, error
    assert "24 photos: accuracy A" in out

    gate = tmp_path / "gate.toml"
    gate.write_text(f'photos = "{data}"\nmin_photos = 20\nmax_accuracy_loss = 0.5\nmin_accuracy = 0.5\n')
    places = ("--config", config, "--server", server[1], "--timeout-seconds", str(DEADLINE_SECONDS), *models)
    assert trainer("promote", "dogs", "1", *places)[0] == 0
    status, out, error = trainer("promote", "dogs", "2", "--gate", gate, *places)
    assert status == 0, error
    assert "dogs version 2, compared with version 1, meets all conditions" in out
    assert labels(config)["stable"] == 2
