"""Two workers against one, and memory over many requests, on a model server that costs nothing.

Run as ``python -m bench.workers`` or ``python -m bench.workers --soak 100000``. The server and the client run on the
same cores as the workers, so a worker's own processor time a request is what tells how it scales: if two spend no more
of it than one, twice the cores carry twice the load.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.compare import Spread
from bench.idle_server import MODEL
from bench.load import Run, closed_loop
from bench.photos import draw_photos, read_photos
from bench.processes import LOOPBACK, Server, free_port
from bench.systems import GATEWAY_PATH, answers, available, gateway_environment, posting

CALLERS = 16


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--soak", type=int, metavar="REQUESTS", help="watch one worker's memory over so many, instead")
    options = parser.parse_args()
    photos = read_photos(options.photos) if options.photos else draw_photos()
    console = Console(width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory() as folder:
        if options.soak:
            _soak(console, photos, options.soak, Path(folder))
        else:
            _scale(console, photos, options.rounds, options.seconds, Path(folder))
    return 0


@contextmanager
def gateways(photos: list[bytes], folder: Path, *workers: int) -> Iterator[list[tuple[Server, int]]]:
    """One gateway for each number of workers, all on one model server that computes nothing, and their ports."""
    with ExitStack() as running:
        port = free_port()
        idle = Server("idle", ["bench.idle_server", "--port", str(port)], {}, folder / "idle.log")
        running.callback(idle.stop)
        target = f"{LOOPBACK}:{port}"
        idle.wait_until(lambda: available(target, MODEL))
        found = []
        for count in workers:
            port = free_port()
            settings = gateway_environment(target, MODEL, port, workers=str(count))
            gateway = Server(f"gateway of {count}", ["gateway"], settings, folder / f"gateway-{count}.log")
            running.callback(gateway.stop)
            gateway.wait_until(partial(answers, port, GATEWAY_PATH, photos[0]))
            found.append((gateway, port))
        time.sleep(1)  # the other workers of the last one
        yield found


def _scale(console: Console, photos: list[bytes], rounds: int, seconds: float, folder: Path) -> None:
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with gateways(photos, folder, 1, 2) as found:
        for _ in range(rounds):
            for workers, (gateway, port) in zip(runs, found, strict=True):
                connect = posting(port, GATEWAY_PATH, photos)
                runs[workers].append(closed_loop(connect, CALLERS, seconds, range(len(photos)), _meter(gateway)))
    for workers, of in runs.items():
        rate, cpu = Spread.of([run.rate for run in of]), Spread.of([run.cpu_ms("gateway") for run in of])
        console.print(
            f"workers: {workers}   {rate.median:.0f} requests/s ({rate.low:.0f} to {rate.high:.0f}), "
            f"{cpu.median:.2f} ms of CPU a request, {rate.median * cpu.median / 1e3:.2f} cores busy with it"
        )
    ratio = Spread.of([two.rate / one.rate for one, two in zip(runs[1], runs[2], strict=True)])
    cost = Spread.of([two.cpu_ms("gateway") / one.cpu_ms("gateway") for one, two in zip(runs[1], runs[2], strict=True)])
    console.print(f"two over one: throughput {ratio.median:.2f}, CPU a request {cost.median:.2f}")


def _soak(console: Console, photos: list[bytes], requests: int, folder: Path) -> None:
    with gateways(photos, folder, 1) as [(gateway, port)]:
        connect, done = posting(port, GATEWAY_PATH, photos), 0
        while done < requests:
            run = closed_loop(connect, CALLERS, 10, range(len(photos)), _meter(gateway))
            done += len(run.latencies)
            console.print(
                f"{done} requests, {run.failures} failed, {gateway.tree.memory_bytes() / 2**20:.1f} MB, "
                f"{run.rate:.0f}/s"
            )


def _meter(gateway: Server) -> Callable[[], dict[str, float]]:
    return lambda: {"gateway": gateway.tree.cpu_seconds()}


if __name__ == "__main__":
    sys.exit(main())
