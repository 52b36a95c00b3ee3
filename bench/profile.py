"""Profile the gateway: CPU time by thread and area, and the longest delays of its event loop."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypedDict

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from bench.clients import HttpCaller, form_request, json_request
from bench.compare import meters
from bench.idle_server import MODEL, SIZE
from bench.load import closed_loop
from bench.programs import GATEWAY_PATH, Started, available, started
from bench.systems import System, systems
from testing.processes import LOOPBACK, Process, free_port

CALLERS = 8
SECONDS = 8
LARGE_BYTES = 24 * 2**20
PHONE_BYTES = 3 * 2**20
BATCH = 64
WATCHED = ("bench.watched_gateway",)

AREAS = {
    "FastAPI, Starlette": ("fastapi/", "starlette/"),
    "HTTP server": ("uvicorn/",),
    "form": ("python_multipart/", "gateway/http/multipart.py", "gateway/http/request_body.py"),
    "gRPC": ("grpc/", "gateway/serving/grpc_backend.py"),
    "JSON, schemas": ("pydantic/", "gateway/http/schemas.py", "json/"),
    "tensors, ranking": ("numpy/", "gateway/tensors/", "gateway/inference/"),
    "hand-over to workers": ("gateway/workers/",),
    "log": ("logging/",),
    "event loop": ("asyncio/",),
    "rest of the gateway": ("gateway/",),
}


class WatchReport(TypedDict):
    """The report of the watched event loop."""

    longest_ms: float
    late_ms: list[float]
    over_5_ms: int
    longest: list[str]
    collection_ms: float
    threads: dict[str, str]


def run(
    console: Console,
    base_path: Path | None,
    model: str,
    photos: Sequence[bytes],
    logs: Path,
    target: str | None,
    output: Path,
) -> None:
    """Prints the CPU time of the threads of the gateway and of areas of the code, then the delays of its event loop."""
    with started(base_path, model, photos[0], logs, target=target, gateway=WATCHED) as running:
        gateway = next(one for one in systems(running, model, photos) if one.name == "gateway")
        _threads(console, running, gateway, len(photos))
        folded = logs / "folded.txt"
        # Only threads that hold the GIL: on some systems, waiting threads look like working ones.
        command = [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--gil", "--pid", str(running.gateway.pid)),
            *("--format", "raw", "--rate", "500", "--duration", str(SECONDS), "--output", str(folded)),
        ]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
        load = closed_loop(gateway.connect, CALLERS, SECONDS, range(len(photos)), meters(gateway))
        _, message = spy.communicate(timeout=60)
        if spy.returncode:
            raise RuntimeError(f"py-spy: {message.decode(errors='replace').strip()}")
        console.print(f"{load.rate:.0f} requests per second from {CALLERS} callers under py-spy")
        console.print("code that holds the GIL")
        console.print(_table(areas(folded.read_text())))
        (output / "gateway-folded.txt").write_text(folded.read_text(), encoding="utf-8")
        console.print(f"written: {output / 'gateway-folded.txt'} (folded stacks, for a flame graph)")
        _watch(console, running.gateway_port, photos)
    _watch_json(console, photos, logs)


def _threads(console: Console, running: Started, gateway: System, photos: int) -> None:
    """Prints the CPU time per request of each kind of thread, without a profiler."""
    process = psutil.Process(running.gateway.pid)
    samples: list[dict[int, float]] = []

    def read() -> dict[str, float]:
        samples.append({one.id: one.user_time + one.system_time for one in process.threads()})
        return {}

    load = closed_loop(gateway.connect, CALLERS, SECONDS, range(photos), read)
    names = _get(running.gateway_port, "/watch")["threads"]
    before, after = samples
    spent: dict[str, float] = dict.fromkeys(("event loop", "gRPC and others"), 0.0)
    for thread, seconds in after.items():
        kind = "event loop" if names.get(str(thread)) == "MainThread" else "gRPC and others"
        spent[kind] += seconds - before.get(thread, 0.0)
    console.print(f"gateway: CPU time per request by thread, {CALLERS} callers")
    table = Table()
    table.add_column("")
    table.add_column("ms", justify="right")
    for kind, seconds in spent.items():
        table.add_row(kind, f"{seconds * 1e3 / len(load.latencies):.2f}")
    console.print(table)


def areas(folded: str) -> Counter[str]:
    """Number of samples by area. A stack belongs to the area of its innermost known frame."""
    counts: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        counts[_area(stack.split(";"))] += int(count)
    return counts


def _area(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for area, patterns in AREAS.items():
            if any(pattern in frame for pattern in patterns):
                return area
    return "other"


def _table(counts: Counter[str]) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("share", justify="right")
    for area, count in counts.most_common():
        table.add_row(area, f"{count / counts.total():.1%}")
    return table


def _watch(console: Console, port: int, photos: Sequence[bytes]) -> None:
    """Prints the delays of the event loop under photos, large uploads, photos of phones, and batches."""
    single = [_form(GATEWAY_PATH, [photo]) for photo in photos]
    for name, requests, callers in (
        ("photos", single, CALLERS),
        ("photos and 24 MB uploads", [*single[:6], _form(GATEWAY_PATH, [_padded(photos[0], LARGE_BYTES)])], 4),
        ("photos of 3 MB", [_form(GATEWAY_PATH, [_padded(one, PHONE_BYTES)]) for one in photos[:20]], 2 * CALLERS),
        ("photos and batches of 64", [*single[:3], _form(f"{GATEWAY_PATH}/batch", [*photos, *photos][:BATCH])], 4),
    ):
        report = _watch_report(port, requests, callers)
        console.print(
            f"event loop under {name}: blocked for at most {report['longest_ms']:.1f} ms of CPU time, "
            f"{report['over_5_ms']} times over 5 ms; "
            f"longest garbage collection {report['collection_ms']:.1f} ms"
        )
        for line in report["longest"]:
            console.print(f"  {line}", markup=False, highlight=False)


def _watch_json(console: Console, photos: Sequence[bytes], logs: Path) -> None:
    """Prints the delays of the event loop under JSON, with a model server that computes nothing."""
    port = free_port()
    idle = Process("idle server", ["bench.idle_server", "--port", str(port)], {}, logs / "idle.log")
    try:
        idle.wait_until(lambda: available(f"{LOOPBACK}:{port}", MODEL))
        with started(None, MODEL, photos[0], logs, target=f"{LOOPBACK}:{port}", gateway=WATCHED) as running:
            lists = ((f"{images} images as lists", *_nested_lists(images)) for images in (1, 16, 32))
            texts = (
                (f"{count} photos of {size / 2**20:g} MB in base64", *_base64([_padded(photos[0], size)] * count))
                for count, size in ((1, PHONE_BYTES), (7, PHONE_BYTES))
            )
            for name, path, body in chain(lists, texts):
                report = _watch_report(running.gateway_port, [json_request(path, LOOPBACK, body)], 1)
                late = report["late_ms"]
                console.print(
                    f"event loop under JSON of {name}, {len(body) / 2**20:.1f} MB: blocked for "
                    f"at most {report['longest_ms']:.1f} ms of CPU time; a timer of 1 ms was late by more than "
                    f"{np.percentile(late, 99.9):.1f} ms once in 1,000 times, by {late[0]:.1f} ms at most"
                )
    finally:
        idle.stop()


def _nested_lists(images: int) -> tuple[str, bytes]:
    """Path and body of a request with pixels as integers."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, SIZE, SIZE, 3), np.uint8)
    return f"/v1/models/{MODEL}:predict", json.dumps({"signature_name": "pixels", "inputs": pixels.tolist()}).encode()


def _base64(photos: Sequence[bytes]) -> tuple[str, bytes]:
    """Path and body of a request with encoded photos."""
    texts = [base64.b64encode(photo).decode() for photo in photos]
    tensor = {"name": "images", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return f"/v2/models/{MODEL}/infer", json.dumps({"inputs": [tensor]}).encode()


def _watch_report(port: int, requests: Sequence[bytes], callers: int) -> WatchReport:
    _get(port, "/watch/reset")
    closed_loop(partial(HttpCaller, LOOPBACK, port, requests), callers, 5, range(len(requests)), dict)
    return _get(port, "/watch")


def _padded(photo: bytes, size: int) -> bytes:
    """A photo followed by zeros: a large upload that is fast to decode."""
    return photo + bytes(max(0, size - len(photo)))


def _form(path: str, photos: Sequence[bytes]) -> bytes:
    return form_request(
        path, LOOPBACK, [("images" if len(photos) > 1 else "image", "photo.jpg", one) for one in photos]
    )


def _get(port: int, path: str) -> WatchReport:
    caller = HttpCaller(LOOPBACK, port, [f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()])
    try:
        response: WatchReport = json.loads(caller.call(0))
    finally:
        caller.close()
    return response
