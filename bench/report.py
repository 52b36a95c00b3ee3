"""Print the results as tables and write them as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from operator import methodcaller
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.compare import CLIENT, Comparison, Spread
from bench.targets import Target


def machine() -> dict[str, object]:
    """The machine of the measurement."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_average": load,
        "python": platform.python_version(),
        **{name: version(name) for name in ("tensorflow", "grpcio", "fastapi", "uvicorn", "pillow", "protobuf")},
    }


def print_tables(console: Console, comparison: Comparison, start_seconds: Mapping[str, float]) -> None:
    """Prints a table for each load, with throughput relative to the second row, and a table of memory."""
    percentiles = [methodcaller("percentile", percent) for percent in (50, 95, 99)]
    for load, systems in comparison.runs.items():
        table = Table(title=f"{load}: medians (and ranges) of all rounds", title_justify="left", title_style="bold")
        table.add_column("")
        for name in ("requests/s", "ratio", "p50 ms", "p95 ms", "p99 ms", "CPU ms a request", "failed"):
            table.add_column(name, justify="right", no_wrap=True)
        second = list(systems)[1]
        for system in systems:
            ratio = comparison.ratio(load, system, second, lambda run: run.rate)
            table.add_row(
                system,
                _text(comparison.spread(load, system, lambda run: run.rate), 1),
                f"{ratio.median:.2f}",
                *(f"{comparison.spread(load, system, percentile).median:.1f}" for percentile in percentiles),
                _cpu(comparison, load, system),
                str(sum(run.failures for run in systems[system])),
            )
        console.print(table)
    table = Table(title="Memory after the load, and time from start to first answer", title_justify="left")
    for name in ("", "MB", "of which"):
        table.add_column(name, justify="left" if name != "MB" else "right")
    for system, memory in comparison.memory.items():
        table.add_row(
            system, f"{sum(memory.values()):.0f}", ", ".join(f"{name} {size:.0f}" for name, size in memory.items())
        )
    console.print(table)
    console.print("start to first answer: " + ", ".join(f"{name} {s:.1f} s" for name, s in start_seconds.items()))


def print_targets(console: Console, targets: Sequence[Target]) -> None:
    """Prints the targets and whether they were reached."""
    table = Table(title="What is to be reached", title_justify="left", title_style="bold")
    for name in ("", "wanted", "measured", "reached"):
        table.add_column(name)
    for target in targets:
        table.add_row(target.what, target.wanted, target.measured, "yes" if target.reached else "[bold red]no")
    console.print(table)


def write_json(path: Path, comparison: Comparison, targets: Sequence[Target], more: Mapping[str, object]) -> None:
    """Writes all values of all rounds."""
    rounds = {
        load: {
            system: [
                {
                    "requests_per_second": run.rate,
                    **{f"p{percent}_ms": run.percentile(percent) for percent in (50, 95, 99)},
                    "cpu_ms_per_request": {name: run.cpu_ms(name) for name in run.cpu},
                    "requests": len(run.latencies),
                    "failures": run.failures,
                }
                for run in runs
            ]
            for system, runs in systems.items()
        }
        for load, systems in comparison.runs.items()
    }
    content = {
        "machine": machine(),
        **more,
        "memory_mb": comparison.memory,
        "targets": [dataclasses.asdict(target) for target in targets],
        "rounds": rounds,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _part_ms(comparison: Comparison, load: str, system: str, part: str) -> float:
    if part not in comparison.runs[load][system][0].cpu:
        return 0.0
    return comparison.spread(load, system, lambda run: run.cpu_ms(part)).median


def _cpu(comparison: Comparison, load: str, system: str) -> str:
    shares = comparison.runs[load][system][0].cpu
    order = [*(name for name in shares if name != CLIENT), CLIENT]
    return ", ".join(f"{name} {_part_ms(comparison, load, system, name):.2f}" for name in order)


def _text(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"
