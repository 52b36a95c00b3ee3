"""Compare two gateway processes with one, or measure memory over many requests, with an idle model server.

Run as ``python -m bench.workers`` or ``python -m bench.workers --soak 100000``. Two effects would hide the ratio:

* One gateway process can use more than one core, because it decodes in worker processes. So each gateway process is
  pinned to one core, and one process on one core is compared with two processes on two cores.
* Client and server share the cores. So the photos have 2 megapixels, and decoding takes most of a request. The CPU time
  of the other parts is printed, with the ratio that it leaves.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
from PIL import Image
from rich.console import Console

from bench.compare import Spread
from bench.idle_server import MODEL
from bench.load import Run, closed_loop
from bench.photos import draw_photos, read_photos
from bench.programs import GATEWAY_PATH, answers, available, gateway_environment
from bench.systems import posting
from testing.processes import LOOPBACK, Process, free_port

CALLERS = 16
PHONE_PIXELS = (1632, 1224)
METERS = (("gateway",), ("client", "server"))


def main() -> int:
    """Prints the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--soak", type=int, metavar="REQUESTS", help="measure the memory of one worker instead")
    options = parser.parse_args()
    photos = read_photos(options.photos) if options.photos else draw_photos()
    console = Console(width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory() as folder:
        if options.soak:
            _soak(console, photos, options.soak, Path(folder))
        else:
            _scale(console, [_enlarged(photo) for photo in photos], options.rounds, options.seconds, Path(folder))
    return 0


@contextmanager
def gateways(
    photos: list[bytes], folder: Path, *workers: int, threads: int = 0
) -> Iterator[list[tuple[Process, int, Process]]]:
    """A gateway for each number of workers, its port, and the shared model server, which computes nothing."""
    with ExitStack() as running:
        port = free_port()
        idle = Process("idle", ["bench.idle_server", "--port", str(port)], {}, folder / "idle.log")
        running.callback(idle.stop)
        target = f"{LOOPBACK}:{port}"
        idle.wait_until(lambda: available(target, MODEL))
        instances = []
        for count in workers:
            port = free_port()
            settings = gateway_environment(target, MODEL, port, workers=str(count), decode_workers=str(threads))
            gateway = Process(f"gateway of {count}", ["gateway"], settings, folder / f"gateway-{count}.log")
            running.callback(gateway.stop)
            gateway.wait_until(partial(answers, port, GATEWAY_PATH, photos[0]))
            instances.append((gateway, port, idle))
        time.sleep(1)  # the other workers of the last gateway
        yield instances


def _scale(console: Console, photos: list[bytes], rounds: int, seconds: float, folder: Path) -> None:
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with gateways(photos, folder, *runs, threads=1) as instances:
        for gateway, _, _ in instances:
            _give_cores(gateway)
        for _ in range(rounds):
            for workers, (gateway, port, idle) in zip(runs, instances, strict=True):
                connect = posting(port, GATEWAY_PATH, photos)
                runs[workers].append(closed_loop(connect, CALLERS, seconds, range(len(photos)), _meter(gateway, idle)))
    for workers, of in runs.items():
        rate = Spread.of([run.rate for run in of])
        own, others = (Spread.of([sum(map(run.cpu_ms, meters)) for run in of]).median for meters in METERS)
        console.print(
            f"workers: {workers}   {rate.median:.1f} requests/s ({rate.low:.1f} to {rate.high:.1f}), CPU a request: "
            f"{own:.2f} ms gateway, {others:.2f} ms client and server; {rate.median * own / 1e3:.2f} cores busy with it"
        )
    ratio = Spread.of([two.rate / one.rate for one, two in zip(runs[1], runs[2], strict=True)])
    cost = Spread.of([two.cpu_ms("gateway") / one.cpu_ms("gateway") for one, two in zip(runs[1], runs[2], strict=True)])
    alone = Spread.of([run.cpu_ms("gateway") for run in runs[1]]).median
    bound = 2 * alone / (own + others)
    console.print(
        f"two over one: throughput {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}), CPU a request "
        f"{cost.median:.2f}; with what client and server take, at most about {bound:.2f} is possible"
    )


def _give_cores(gateway: Process) -> None:
    """Pins each worker of a gateway to its own core (on Linux)."""
    root = psutil.Process(gateway.pid)
    workers = [child for child in root.children() if "spawn_main" in " ".join(child.cmdline())] or [root]
    for core, worker in zip(sorted(os.sched_getaffinity(0)), workers, strict=False):
        for thread in worker.threads():  # new threads inherit it
            os.sched_setaffinity(thread.id, {core})


def _enlarged(photo: bytes) -> bytes:
    """A JPEG with `PHONE_PIXELS` pixels."""
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("RGB").resize(PHONE_PIXELS).save(file, "JPEG", quality=85)
    return file.getvalue()


def _soak(console: Console, photos: list[bytes], requests: int, folder: Path) -> None:
    with gateways(photos, folder, 1) as [(gateway, port, idle)]:
        connect, done = posting(port, GATEWAY_PATH, photos), 0
        while done < requests:
            run = closed_loop(connect, CALLERS, 10, range(len(photos)), _meter(gateway, idle))
            done += len(run.latencies)
            console.print(
                f"{done} requests, {run.failures} failed, {gateway.tree.memory_bytes() / 2**20:.1f} MB, "
                f"{run.rate:.0f}/s"
            )


def _meter(gateway: Process, idle: Process) -> Callable[[], dict[str, float]]:
    return lambda: {
        "gateway": gateway.tree.cpu_seconds(),
        "server": idle.tree.cpu_seconds(),
        "client": time.process_time(),
    }


if __name__ == "__main__":
    sys.exit(main())
