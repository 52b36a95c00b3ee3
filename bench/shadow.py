"""Latency with and without a shadow, with a model server that computes nothing.

Run as ``python -m bench.shadow``. Everything shares the same cores, so the cost of the copies is visible.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from bench.compare import Spread
from bench.idle_server import MODEL
from bench.load import Run, closed_loop
from bench.photos import draw_photos, read_photos
from bench.programs import GATEWAY_PATH, answers, available, gateway_environment
from bench.systems import posting
from testing.processes import LOOPBACK, Process, free_port


def main() -> int:
    """Prints the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--percent", type=float, default=10, help="percentage of copied requests (default: 10)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    photos = read_photos(options.photos) if options.photos else draw_photos()
    console = Console(width=None if sys.stdout.isatty() else 140)
    shadows = {"plain": {}, "shadowed": {MODEL: {"percent": options.percent, "version": 1}}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        port = free_port()
        idle = Process("idle", ["bench.idle_server", "--port", str(port)], {}, Path(folder, "idle.log"))
        running.callback(idle.stop)
        target = f"{LOOPBACK}:{port}"
        idle.wait_until(lambda: available(target, MODEL))
        gateways = {}
        for name, shadow in shadows.items():
            port = free_port()
            settings = gateway_environment(target, MODEL, port, shadows=json.dumps(shadow))
            gateway = Process(name, ["gateway"], settings, Path(folder, f"{name}.log"))
            running.callback(gateway.stop)
            gateway.wait_until(partial(answers, port, GATEWAY_PATH, photos[0]))
            gateways[name] = gateway, port
        for callers in (1, 8):
            _compare(console, gateways, photos, callers, options.rounds, options.seconds)
        console.print(f"copies by outcome: {_outcomes(gateways['shadowed'][1])}")
    return 0


def _compare(
    console: Console,
    gateways: dict[str, tuple[Process, int]],
    photos: list[bytes],
    callers: int,
    rounds: int,
    seconds: float,
) -> None:
    runs: dict[str, list[Run]] = {name: [] for name in gateways}
    for _ in range(rounds):
        for name, (gateway, port) in gateways.items():
            meter = partial(_cpu, gateway)
            run = closed_loop(posting(port, GATEWAY_PATH, photos), callers, seconds, range(len(photos)), meter)
            runs[name].append(run)
    figures: dict[str, Callable[[Run], float]] = {
        "p50": lambda run: run.percentile(50),
        "p95": lambda run: run.percentile(95),
        "CPU of the gateway": lambda run: run.cpu_ms("gateway"),
    }
    for name, figure in figures.items():
        pairs = zip(runs["plain"], runs["shadowed"], strict=True)
        ratio = Spread.of([figure(shadowed) / figure(plain) for plain, shadowed in pairs])
        ratio_text = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        console.print(f"{callers} callers, {name}: shadowed over plain {ratio_text}")


def _cpu(gateway: Process) -> dict[str, float]:
    return {"gateway": gateway.tree.cpu_seconds()}


def _outcomes(port: int) -> dict[str, int]:
    text = httpx.get(f"http://{LOOPBACK}:{port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {one.labels["outcome"]: int(one.value) for one in samples if one.name == "gateway_shadow_images_total"}


if __name__ == "__main__":
    sys.exit(main())
