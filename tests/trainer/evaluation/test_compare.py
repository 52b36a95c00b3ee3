"""Two exported versions on the same photos, from the command line, and a gate that looks at them."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from testing.polling import DEADLINE_SECONDS
from testing.polling_server import PollingServer, labels
from tests.trainer.registry.conftest import config, server
from trainer.cli import main
from trainer.export.saved_model import export_model
from trainer.model_card import Backbone, Card, InputSpec

__all__ = ["config", "server"]

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 knows red and green, version 2 also blue."""
    directory = tmp_path_factory.mktemp("models")
    for version, channels in (("1", (0, 1)), ("2", (0, 1, 2))):
        images = keras.Input((8, 8, 3))
        outputs = keras.layers.Dense(len(channels), use_bias=False)
        maps = keras.layers.AveragePooling2D(4)(images)
        model = keras.Model(images, outputs(keras.layers.GlobalAveragePooling2D()(maps)))
        outputs.set_weights([np.eye(3, dtype=np.float32)[:, channels] / 10])
        names = tuple(COLOURS)[: len(channels)]
        card = Card("dogs", names, InputSpec(8, 8), Backbone("colour", "none"), unknown_threshold=0.9)
        (directory / "dogs" / version).mkdir(parents=True)
        export_model(model, card, directory / "dogs" / version, batch_sizes=(1,))
    return directory


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label, colour in COLOURS.items():
        (folder / label / "park").mkdir(parents=True)
        for number in range(20):
            place = folder / label / ("park" if number % 2 else "") / f"{number}.png"
            Image.new("RGB", (20, 12), colour).save(place)
    (folder / "red" / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture
def others(tmp_path: Path) -> Path:
    (tmp_path / "others").mkdir()
    Image.new("RGB", (20, 12), (90, 90, 90)).save(tmp_path / "others" / "grey.png")
    return tmp_path / "others"


def test_a_new_class_is_gained_and_nothing_is_lost(
    models: Path, photos: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "dogs/1", str(models / "dogs" / "2"), str(photos), "--models-dir", str(models)]
    arguments += ["--unknown", str(others), "--seconds", "0.05", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "60 photos: accuracy A 0.667, B 1.000; the best labels differ on 20 (33.3%)" in out
    assert "On the 40 photos of classes that both have, both are right on the same photos." in out
    assert "only in B: blue, 1.000 of 20 photos right" in out
    assert "skipped 1 files that cannot be read, such as red/broken.jpg" in out
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert comparison["accuracy"]["difference"] == pytest.approx(1 / 3)
    assert {one["name"]: one["photos"] for one in comparison["slices"]["folder"]} == {
        photos.name: 30, f"{photos.name}/park": 30,
    }  # fmt: skip
    assert comparison["a"]["speed"]["one_ms"] > 0
    assert comparison["others_unknown"]["b"] == 1.0
    assert "data:image/jpeg;base64," in (tmp_path / "out" / "comparison.html").read_text()


def test_a_version_that_is_not_there_is_named(models: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "dogs/1", "dogs/9", str(photos), "--models-dir", str(models)]) == 1
    assert f"there is no SavedModel dogs/9 and no version {models / 'dogs/9'}" in capsys.readouterr().err


def test_a_gate_keeps_a_worse_version_out_unless_it_is_forced_which_is_recorded(
    models: Path,
    photos: Path,
    config: Path,
    server: tuple[PollingServer, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text(
        f'photos = "{photos}"\nmin_photos = 40\nmax_accuracy_loss = 0.1\nmin_accuracy = 0.9\nmax_class_loss = 0.5\n'
    )
    places = ["--models-dir", str(models), "--config", str(config), "--server", server[1]]
    places += ["--timeout-seconds", str(DEADLINE_SECONDS)]

    def promote(version: str, *more: str) -> tuple[int, str, str]:
        status = main(["promote", "dogs", version, *more, *places])
        return status, *capsys.readouterr()

    assert promote("1")[0] == 0
    status, out, _ = promote("2", "--gate", str(gate))
    assert status == 0
    assert "dogs version 2, compared with version 1, meets all conditions" in out
    status, _, error = promote("1", "--gate", str(gate))
    assert (status, labels(config)["stable"]) == (1, 2)
    assert "refuses dogs version 1, compared with version 2:\n- its accuracy is 66.7%, less than 90.0%\n- its" in error
    status, _, error = promote("1", "--force")
    assert (status, "it needs --gate FILE" in error) == (1, True)
    status, out, _ = promote("1", "--gate", str(gate), "--force")
    assert (status, labels(config)["stable"]) == (0, 1)
    assert "--force overrides it:\n- its accuracy is 66.7%" in out
    assert main(["rollback", "dogs", *places]) == 0
    records = [json.loads(line) for line in (config.parent / "models.history.jsonl").read_text().splitlines()]
    assert [(one["event"], one["version"]) for one in records] == [
        ("promote", 1), ("promote", 2), ("promote", 1), ("rollback", 2),
    ]  # fmt: skip
    assert [len(one.get("forced_despite", ())) for one in records[:3]] == [0, 0, 2]
    assert records[2]["before"] == 2
