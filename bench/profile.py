"""Where the gateway's time goes, and how long its event loop is ever held up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

from bench.clients import HttpCaller, form_request
from bench.compare import meters
from bench.load import closed_loop
from bench.processes import LOOPBACK
from bench.systems import GATEWAY_PATH, started, systems

CALLERS = 8
SECONDS = 8
LARGE_BYTES = 24 * 2**20

AREAS = {
    "decode and resize": ("PIL/", "gateway/images.py", "gateway/image_formats.py"),
    "FastAPI, Starlette": ("fastapi/", "starlette/"),
    "HTTP server": ("uvicorn/",),
    "form": ("python_multipart/", "gateway/uploads.py"),
    "gRPC": ("grpc/", "gateway/backend.py"),
    "JSON, schemas": ("pydantic/", "gateway/schemas.py", "json/"),
    "tensors, ranking": ("numpy/", "gateway/tensors.py", "gateway/classifier.py"),
    "log": ("logging/",),
    "event loop": ("asyncio/",),
    "threads": ("concurrent/futures/", "threading.py"),
    "rest of the gateway": ("gateway/",),
}


class Seen(TypedDict):
    """What the watch on the event loop answers."""

    longest_ms: float
    over_5_ms: int
    longest: list[str]
    collection_ms: float


def run(
    console: Console,
    base_path: Path | None,
    model: str,
    photos: Sequence[bytes],
    logs: Path,
    target: str | None,
    output: Path,
) -> None:
    """Profiles the gateway under load by py-spy, then watches its event loop while large uploads come in."""
    with started(base_path, model, photos[0], logs, target=target, gateway=["bench.watched_gateway"]) as running:
        gateway = next(one for one in systems(running, model, photos) if one.name == "gateway")
        folded = logs / "folded.txt"
        command = [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(running.gateway.pid)),
            *("--format", "raw", "--rate", "200", "--duration", str(SECONDS), "--output", str(folded)),
        ]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
        load = closed_loop(gateway.connect, CALLERS, SECONDS, range(len(photos)), meters(gateway))
        _, said = spy.communicate(timeout=60)
        if spy.returncode:
            raise RuntimeError(f"py-spy: {said.decode(errors='replace').strip()}")
        console.print(f"{load.rate:.0f} requests a second from {CALLERS} callers under py-spy")
        console.print(_table(areas(folded.read_text())))
        (output / "gateway-folded.txt").write_text(folded.read_text(), encoding="utf-8")
        console.print(f"written: {output / 'gateway-folded.txt'} (folded stacks, for a flame graph)")
        _watch(console, running.gateway_port, photos)


def areas(folded: str) -> Counter[str]:
    """Samples by area, each stack counted for the innermost frame that belongs to one."""
    found: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        found[_area(stack.split(";"))] += int(count)
    return found


def _area(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for area, parts in AREAS.items():
            if any(part in frame for part in parts):
                return area
    return "other"


def _table(found: Counter[str]) -> Table:
    table = Table(title="Gateway: samples of running threads", title_justify="left")
    table.add_column("")
    table.add_column("share", justify="right")
    for area, count in found.most_common():
        table.add_row(area, f"{count / found.total():.1%}")
    return table


def _watch(console: Console, port: int, photos: Sequence[bytes]) -> None:
    """What holds up the event loop: with photos as they are, then with uploads of 24 MB among them."""
    # A whole photo, and after its end so many zeros: the upload is large, its decoding is not.
    padded = photos[0] + bytes(LARGE_BYTES - len(photos[0]))
    for name, files, callers in (
        ("photos", list(photos), CALLERS),
        ("photos and 24 MB uploads", [*photos[:6], padded], 4),
    ):
        requests = [form_request(GATEWAY_PATH, LOOPBACK, [("dog_image", "photo.jpg", one)]) for one in files]
        _ask(port, "/watch/reset")
        closed_loop(partial(HttpCaller, LOOPBACK, port, requests), callers, 5, range(len(files)), dict)
        seen = _ask(port, "/watch")
        console.print(
            f"event loop under {name}: held up for {seen['longest_ms']:.1f} ms of CPU at most, "
            f"{seen['over_5_ms']} times over 5 ms; "
            f"longest garbage collection {seen['collection_ms']:.1f} ms"
        )
        for line in seen["longest"]:
            console.print(f"  {line}", markup=False, highlight=False)


def _ask(port: int, path: str) -> Seen:
    caller = HttpCaller(LOOPBACK, port, [f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()])
    try:
        found: Seen = json.loads(caller.call(0))
    finally:
        caller.close()
    return found
