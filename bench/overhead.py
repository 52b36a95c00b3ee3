"""CPU overhead of modelserver compared with TensorFlow: ``python -m bench.overhead MODEL_FOLDER``.

Alternates between direct calls of the same session in this process, with batches of the same size, and requests to a
modelserver. Prints the CPU time per photo, without that of the gRPC client.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.clients import ReadyTensors, request_for
from bench.compare import Spread
from bench.load import closed_loop
from bench.programs import available, input_size, modelserver_arguments, newest_version
from modelserver import flags
from modelserver.config import parse_batching
from modelserver.engines import Engines
from testing import ROOT
from testing.processes import LOOPBACK, Process, free_port

REQUESTS = 16


class Direct:
    """A caller that runs a batch of the given size in this process."""

    def __init__(self, model: Path, rows: int) -> None:
        engines = Engines(flags.parse(["--engine=tensorflow", f"--model_base_path={model}"]), None)
        self._signature = engines.load(newest_version(model)).signature("pixels")
        self._images = {"images": np.random.default_rng(0).integers(0, 256, (rows, *input_size(model), 3), np.uint8)}

    def call(self, _: int) -> bytes:
        """See `load.Caller`."""
        self._signature.run(self._images, ["probabilities"])
        return b""

    def close(self) -> None:
        """See `load.Caller`."""


def main() -> int:
    """Prints a table; returns 1 if the server does not start or a request fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("model", type=Path, help="folder with the versions of a model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        _measure(console, options.model, options.rounds, options.seconds)
    except (OSError, RuntimeError, ValueError) as error:
        console.print(f"bench.overhead: {error}", style="red", markup=False)
        return 1
    return 0


def _measure(console: Console, model: Path, rounds: int, seconds: float) -> None:
    name, port = model.resolve().name, free_port()
    address = f"{LOOPBACK}:{port}"
    batching = parse_batching((ROOT / "serving" / "batching.config").read_text())
    images = np.random.default_rng(0).integers(0, 256, (REQUESTS, 1, *input_size(model), 3), np.uint8)
    requests = [request_for(name, image) for image in images]
    # Batches have one photo with a single caller, and are full with many callers.
    loads = [(1, 1, 1), (8, batching.threads, batching.execution_size), (32, batching.threads, batching.execution_size)]
    results: dict[int, list[tuple[float, float]]] = {callers: [] for callers, _, _ in loads}
    direct = {rows: Direct(model, rows) for _, _, rows in loads}
    with tempfile.TemporaryDirectory() as folder:
        server = Process("modelserver", modelserver_arguments(model, name, port), {}, Path(folder) / "log")
        try:
            started = server.wait_until(partial(available, address, name))
            for _ in range(rounds):
                for callers, threads, rows in loads:
                    alone = closed_loop(
                        partial(direct.__getitem__, rows), threads, seconds, range(REQUESTS),
                        lambda: {"here": time.process_time()},
                    )  # fmt: skip
                    served = closed_loop(
                        partial(ReadyTensors, address, requests), callers, seconds, range(REQUESTS),
                        lambda: {"server": server.tree.cpu_seconds()},
                    )  # fmt: skip
                    results[callers].append(
                        (alone.without_failures().cpu_ms("here") / rows, served.without_failures().cpu_ms("server"))
                    )
            memory = server.tree.memory_bytes() / 2**20
        finally:
            server.stop()
    table = Table(title="CPU time per photo, ms (median and range)", title_justify="left")
    for column in ("callers", "TensorFlow", "modelserver", "difference"):
        table.add_column(column, justify="right")
    for callers, pairs in results.items():
        columns = [[one for one, _ in pairs], [two for _, two in pairs], [two - one for one, two in pairs]]
        spreads = [Spread.of(column) for column in columns]
        table.add_row(str(callers), *(f"{one.median:.2f} ({one.low:.2f} to {one.high:.2f})" for one in spreads))
    console.print(table)
    console.print(f"modelserver: ready after {started:.1f} s, {memory:.0f} MB after the load")


if __name__ == "__main__":
    sys.exit(main())
