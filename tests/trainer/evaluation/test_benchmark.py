from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer import cli
from trainer.evaluation import benchmark

# Keras, with NumPy 2 and TensorFlow variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_every_image_signature_is_timed_beside_the_plain_export(model_dir: Path) -> None:
    card, speeds = benchmark.benchmark(model_dir.parent, (1, 4), 0.05)
    assert card.name == "colours"
    timed = {(speed.signature, speed.batch_size) for speed in speeds}
    names = ("pixels", "serving_default", "explain", "embed", benchmark.PLAIN)
    assert timed == {(name, size) for name in names for size in (1, 4)}
    for speed in speeds:
        assert speed.images_per_second == pytest.approx(speed.batch_size / speed.p50_ms * 1e3)
        assert 0 < speed.p50_ms <= speed.p95_ms


def test_the_command_prints_a_table_and_writes_the_figures(
    model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["benchmark", str(model_dir), "--batch-sizes", "2", "--seconds", "0.05", "--json", str(figures)]
    assert cli.main(arguments) == 0
    assert "pixels" in capfd.readouterr().out
    assert {speed["batch_size"] for speed in json.loads(figures.read_text())} == {2}


@pytest.mark.parametrize("sizes", ["", "0", "1,,2", "many"])
def test_batch_sizes_that_are_none_are_refused(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["benchmark", "nowhere", "--batch-sizes", sizes])
    assert error.value.code == 2
    assert "positive integers" in capsys.readouterr().err


def test_a_folder_without_a_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", str(tmp_path)]) == 1
    assert "holds no SavedModel" in capsys.readouterr().err
