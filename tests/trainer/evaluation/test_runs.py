"""The command `runs` on folders as `train` writes them."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from trainer.config import make
from trainer.evaluation.runs import listing, read_runs

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "220")
    for at, (name, run, views, accuracy) in enumerate(
        [("dogs", "aa11", 2, 0.9), ("dogs", "ab22", 4, 0.95), ("cats", "cc33", 2, None)]
    ):
        folder = tmp_path / name / run
        folder.mkdir(parents=True)
        config = make({"data": "photos", "name": name, "views": views, "add": ("more",) if views == 4 else ()})
        (folder / "config.toml").write_text(config.to_toml())
        if accuracy is not None:
            evaluation = {
                "model": {"name": name, "path": f"models/{name}/{at + 1}"},
                "data": "photos (validation)",
                "photos": 120,
                "accuracy": accuracy,
                "intervals": {"accuracy": [accuracy - 0.05, accuracy + 0.02]},
            }
            (folder / "evaluation.json").write_text(json.dumps(evaluation))
            os.utime(folder / "evaluation.json", (1e9 - at, 1e9 - at))
    (tmp_path / "cache").mkdir(exist_ok=True)
    return tmp_path


def test_runs_are_listed_oldest_first_with_what_is_not_a_default(trainer: Trainer, runs_dir: Path) -> None:
    assert [run.id for run in read_runs(runs_dir)] == ["ab22", "aa11", "cc33"]
    status, out, _ = trainer("runs", "--runs-dir", runs_dir)
    assert status == 0
    lines = [line for line in out.splitlines() if "dogs" in line or "cats" in line]
    assert "0.950 [0.900, 0.970]" in lines[0]
    assert "views 4" in lines[0]
    assert "add more" in lines[0]
    assert "views" not in lines[1]
    assert "add" not in lines[1]
    assert "not finished" in lines[2]


def test_the_list_of_runs_fits_a_terminal_of_80_columns(runs_dir: Path) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(listing(read_runs(runs_dir), wide=False))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\u2026" not in text
    for word in ("dogs", "ab22", "0.950", "views 4", "add more"):
        assert word in text


def test_brackets_in_settings_are_shown_as_they_are(trainer: Trainer, runs_dir: Path) -> None:
    config = make({"data": "photos", "name": "dogs", "views": 4, "add": ("more[red]", "old[/b]")})
    (runs_dir / "dogs" / "ab22" / "config.toml").write_text(config.to_toml())
    for arguments in (("dogs",), ("dogs", "aa", "ab")):
        status, out, _ = trainer("runs", *arguments, "--runs-dir", runs_dir)
        assert status == 0
        assert "more[red]" in out
        assert "old[/b]" in out


def test_two_runs_are_compared_by_figures_and_settings_that_differ(trainer: Trainer, runs_dir: Path) -> None:
    status, out, _ = trainer("runs", "dogs", "aa", "ab", "--runs-dir", runs_dir)
    assert status == 0
    [views] = [line for line in out.splitlines() if "views" in line]
    assert [cell.strip() for cell in views.split("\u2502")[1:-1]] == ["views", "2", "4"]
    assert "backbone" not in out
    runs = json.loads(trainer("runs", "dogs", "--runs-dir", runs_dir, "--json")[1])
    assert {one["id"]: one["figures"]["accuracy"] for one in runs} == {"ab22": 0.95, "aa11": 0.9}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("birds",), "has no runs of birds; breed train DATA"),
        (("dogs", "a", "ab"), "'a' matches several runs; breed runs lists them: ab22, aa11"),
        (("dogs", "x", "ab"), "'x' is not a run"),
        (("dogs", "ab"), "name two or more"),
    ],
)
def test_what_is_no_run_is_said_with_what_there_is(
    trainer: Trainer, runs_dir: Path, arguments: tuple[str, ...], words: str
) -> None:
    status, _, error = trainer("runs", *arguments, "--runs-dir", runs_dir)
    assert status == 1
    assert words in error
