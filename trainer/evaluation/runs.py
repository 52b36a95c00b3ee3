"""The command `runs`: list training runs, and compare some of them."""

import argparse
import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.options import add_runs_dir

PLACES = ("name", "data")
"""Settings that are shown in columns of their own."""

WIDE = 120
"""Columns of a terminal from which on the list of runs has room for intervals and numbers of photos."""

FIGURES = (
    "photos",
    "accuracy",
    "top5_accuracy",
    "macro_f1",
    "expected_calibration_error",
    "mean_average_precision",
    "exact_labels",
)


@dataclass(frozen=True)
class RunSummary:
    """A run, as its folder RUNS_DIR/NAME/ID describes it.

    Attributes:
        name: Name of the model.
        id: Name of the folder.
        finished: When the evaluation was written, local time; None if there is none.
        settings: Settings that differ from the defaults.
        evaluation: Content of `evaluation.json`; empty without an evaluation.
    """

    name: str
    id: str
    finished: datetime | None
    settings: dict[str, Any]
    evaluation: dict[str, Any]

    @property
    def version(self) -> str:
        """The published version."""
        return Path(self.evaluation["model"]["path"]).name if self.evaluation else ""

    def to_json(self) -> dict[str, JSON]:
        """Returns the run without what is long in its evaluation."""
        figures = {key: self.evaluation.get(key) for key in (*FIGURES, "intervals")} if self.evaluation else {}
        finished = self.finished.isoformat(timespec="seconds") if self.finished else None
        return {
            "name": self.name,
            "id": self.id,
            "finished": finished,
            "version": self.version,
            "settings": self.settings,
            "figures": figures,
        }


def read_runs(runs_dir: Path, name: str | None = None) -> list[RunSummary]:
    """Reads the runs of all models or of one, oldest first; unfinished runs come last.

    Raises:
        TrainerError: There are no runs.
    """
    configs = sorted(runs_dir.glob(f"{name or '*'}/*/config.toml"))
    if not configs:
        what = f"runs of {name}" if name else "runs"
        raise TrainerError(
            f"{runs_dir} has no {what}; breed train DATA --name NAME makes one, --runs-dir selects a folder"
        )
    runs = [_read(path) for path in configs]
    return sorted(runs, key=lambda run: (run.finished is None, run.finished or datetime.min))  # noqa: DTZ901 - local time


def _read(config: Path) -> RunSummary:
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        written = config.with_name("evaluation.json")
        evaluation = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
        finished = datetime.fromtimestamp(written.stat().st_mtime) if evaluation else None  # noqa: DTZ006 - for people
    except (OSError, ValueError) as error:
        raise TrainerError(f"{config.parent} is damaged: {error}; delete it, or train again") from error
    defaults = dataclasses.asdict(Config())
    changed = {key: value for key, value in settings.items() if defaults.get(key) != value or key in PLACES}
    return RunSummary(config.parent.parent.name, config.parent.name, finished, changed, evaluation)


def find_run(runs: Sequence[RunSummary], prefix: str) -> RunSummary:
    """Returns the run whose ID begins with some letters.

    Raises:
        TrainerError: There is no such run, or several.
    """
    matches = [run for run in runs if run.id.startswith(prefix)]
    if len(matches) != 1:
        some = ", ".join(run.id for run in matches or runs)
        problem = "matches several runs" if matches else "is not a run"
        raise TrainerError(f"{prefix!r} {problem}; breed runs lists them: {some}")
    return matches[0]


def listing(runs: Sequence[RunSummary], *, wide: bool = True) -> Table:
    """Returns a table with a row for each run; unless it is wide, without intervals and numbers of photos."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("model", "run", "finished"):
        table.add_column(column, no_wrap=True)
    table.add_column("version", justify="right")
    table.add_column("accuracy", justify="right", no_wrap=True)
    if wide:
        table.add_column("photos", justify="right")
    table.add_column("settings that are not the defaults", overflow="fold")
    for run in runs:
        settings = ", ".join(f"{key} {_text(value)}" for key, value in run.settings.items() if key not in PLACES)
        finished = f"{run.finished:%Y-%m-%d %H:%M}" if run.finished else "not finished"
        figure = _with_interval(run, "accuracy")
        if precision := _with_interval(run, "mean_average_precision"):  # of a multi-label model
            figure = f"mAP {precision}"
        photos = str(run.evaluation["photos"]) if run.evaluation else ""
        figures = [figure, photos] if wide else [figure.partition(" [")[0]]
        table.add_row(run.name, run.id, finished, run.version, *figures, settings)
    return table


def comparison(runs: Sequence[RunSummary]) -> Table:
    """Returns a table with a column for each run: figures, and the settings in which the runs differ."""
    table = Table(title="runs side by side")
    table.add_column("")
    for run in runs:
        table.add_column(f"{run.name} {run.id}", justify="right")
    table.add_row("version", *(run.version for run in runs))
    table.add_row("evaluated on", *(str(run.evaluation.get("data", "")) for run in runs))
    for figure in FIGURES:
        if not any(figure in run.evaluation for run in runs):
            continue
        table.add_row(figure.replace("_", " "), *(_with_interval(run, figure) for run in runs))
    table.add_section()
    defaults = dataclasses.asdict(Config())
    for key in defaults:
        values = [run.settings.get(key, defaults[key]) for run in runs]
        if any(value != values[0] for value in values):
            table.add_row(key, *map(_text, values))
    return table


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _with_interval(run: RunSummary, figure: str) -> str:
    value = run.evaluation.get(figure)
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    interval = run.evaluation.get("intervals", {}).get(figure)
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `runs`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="only runs of this model")
    parser.add_argument(
        "ids", nargs="*", metavar="RUN", help="IDs of runs to compare, or their first letters; two or more"
    )
    add_runs_dir(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints a table; returns the exit status."""
    runs = read_runs(args.runs_dir, args.name)
    if len(args.ids) == 1:
        raise TrainerError(f"one run cannot be compared; name two or more: breed runs {args.name} RUN RUN")
    if args.ids:
        runs = [find_run(runs, prefix) for prefix in args.ids]
    console = Console(markup=False)  # a folder may have a name such as photos[new]
    if not console.is_terminal:
        console.width = max(console.width, 2 * WIDE)
    if args.json:
        console.print_json(json.dumps([one.to_json() for one in runs]))
    else:
        console.print(comparison(runs) if args.ids else listing(runs, wide=console.width >= WIDE))
    return 0
