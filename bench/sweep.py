"""Compare batching settings for the files in serving/: ``python -m bench.sweep MODEL_FOLDER``.

Each setting gets its own model server. They are measured in turn, in rounds, so that other load on the machine affects
all equally.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.clients import ReadyTensors, request_for
from bench.compare import Spread
from bench.load import Run, closed_loop
from bench.programs import available, input_size, modelserver_arguments
from testing.processes import LOOPBACK, Process, free_port

CALLERS = (1, 8, 32)
REQUESTS = 16


@dataclass(frozen=True)
class Setting:
    """One setting of the sweep."""

    max_batch_size: int
    max_execution_batch_size: int
    timeout_micros: int
    threads: int

    def text(self) -> str:
        """The text of the batching file."""
        return (
            f"max_batch_size {{ value: {self.max_batch_size} }}\n"
            "enable_large_batch_splitting { value: true }\n"
            f"max_execution_batch_size {{ value: {self.max_execution_batch_size} }}\n"
            f"batch_timeout_micros {{ value: {self.timeout_micros} }}\n"
            "max_enqueued_batches { value: 256 }\n"
            f"num_batch_threads {{ value: {self.threads} }}\n"
        )


def main() -> int:
    """Prints a table; returns 1 if a server does not start or a request fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("model", type=Path, help="folder with the versions of a model")
    parser.add_argument("--max-batch-size", type=_numbers, default=[64])
    parser.add_argument("--max-execution-batch-size", type=_numbers, default=[2, 4, 8, 32])
    parser.add_argument("--timeout-micros", type=_numbers, default=[0, 2000])
    parser.add_argument("--threads", type=_numbers, default=[2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    settings = [
        Setting(*values)
        for values in itertools.product(
            options.max_batch_size, options.max_execution_batch_size, options.timeout_micros, options.threads
        )
    ]
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        with tempfile.TemporaryDirectory() as folder:
            runs, memory = sweep(options.model, settings, options.rounds, options.seconds, Path(folder))
    except (OSError, RuntimeError, ValueError) as error:
        console.print(f"bench.sweep: {error}", style="red", markup=False)
        return 1
    console.print(_table(settings, runs, memory))
    return 0


def sweep(
    model: Path, settings: list[Setting], rounds: int, seconds: float, folder: Path
) -> tuple[dict[tuple[Setting, int], list[Run]], dict[Setting, float]]:
    """Runs by setting and callers, and megabytes by setting at the end.

    Raises:
        OSError, ValueError: There is no model, or no model card to read.
        RuntimeError: A server does not start, or a request fails.
    """
    name = model.resolve().name
    images = np.random.default_rng(0).integers(0, 256, (REQUESTS, 1, *input_size(model), 3), np.uint8)
    requests = [request_for(name, image) for image in images]
    runs: dict[tuple[Setting, int], list[Run]] = {}
    with ExitStack() as running:
        servers: list[tuple[Setting, Process, str]] = []
        for number, setting in enumerate(settings):
            batching, port = folder / f"{number}.config", free_port()
            batching.write_text(setting.text())
            # Warm-up records may be larger than this setting allows. The start of the load warms up instead.
            arguments = [*modelserver_arguments(model, name, port, batching), "--enable_model_warmup=false"]
            server = Process(f"modelserver {setting}", arguments, {}, folder / f"{number}.log")
            running.callback(server.stop)
            address = f"{LOOPBACK}:{port}"
            server.wait_until(partial(available, address, name))
            warm_up = closed_loop(partial(ReadyTensors, address, requests), 8, seconds, range(REQUESTS), dict)
            warm_up.without_failures()
            servers.append((setting, server, address))
        for _, callers, (setting, server, address) in itertools.product(range(rounds), CALLERS, servers):
            tree = server.tree
            run = closed_loop(
                partial(ReadyTensors, address, requests), callers, seconds, range(REQUESTS),
                lambda tree=tree: {"server": tree.cpu_seconds()},  # type: ignore[misc]
            )  # fmt: skip
            runs.setdefault((setting, callers), []).append(run.without_failures())
        memory = {setting: server.tree.memory_bytes() / 2**20 for setting, server, _ in servers}
    return runs, memory


def _table(settings: list[Setting], runs: dict[tuple[Setting, int], list[Run]], memory: dict[Setting, float]) -> Table:
    table = Table(title="requests/s, p50 ms, CPU ms a request (medians)", title_justify="left")
    for name in ("rows", "at once", "wait us", "threads", *(f"{callers} callers" for callers in CALLERS), "MB"):
        table.add_column(name, justify="right")
    for setting in settings:
        cells = []
        for callers in CALLERS:
            results = runs[setting, callers]
            figures = [
                Spread.of([run.rate for run in results]).median,
                Spread.of([run.percentile(50) for run in results]).median,
                Spread.of([run.cpu_ms("server") for run in results]).median,
            ]
            cells.append("{:.0f}, {:.0f}, {:.1f}".format(*figures))
        table.add_row(*map(str, astuple(setting)), *cells, f"{memory[setting]:.0f}")
    return table


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
