"""Decodes files in processes with the limits that a worker has."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testing import ROOT

CODE = """
import io, json, os, resource, sys, time, traceback
from PIL import Image
from gateway.images import ImageError, Target, decode_image

for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):  # loads what a worker has loaded before its limits are set
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    decode_image(buffer.getvalue(), Target(8, 8))
try:
    import pillow_heif
except ImportError:
    pass


def decode(path, max_pixels, side, heap, cpu_seconds):
    data = open(path, "rb").read()
    mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + heap, mapped + heap))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    started = time.process_time()
    try:
        outcome = "x".join(map(str, decode_image(data, Target(side, side), max_pixels=max_pixels).shape))
    except ImageError as error:
        outcome = error.code
    print(json.dumps([outcome, time.process_time() - started]), flush=True)


for line in sys.stdin:
    child = os.fork()
    if not child:
        status = 1
        try:
            decode(*json.loads(line))
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps([None, os.waitstatus_to_exitcode(status)]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What a limited process made of a file.

    Attributes:
        result: The shape such as ``8x8x3``, or the code of the `ImageError`.
        cpu_seconds: Of decoding alone.
    """

    result: str
    cpu_seconds: float


def decode_isolated(path: Path, *, max_pixels: int, heap_bytes: int, side: int = 224, cpu_seconds: int = 20) -> Outcome:
    """Decode a file under RLIMIT_AS and RLIMIT_CPU; needs Linux.

    Args:
        path: The file.
        max_pixels: As `decode_image` takes it.
        heap_bytes: Address space beyond what the process has when all is loaded.
        side: Height and width of the target.
        cpu_seconds: The process is killed after so many.

    Raises:
        ChildProcessError: The process ended without an outcome.
    """
    server = _fork_server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([str(path), max_pixels, side, heap_bytes, cpu_seconds]) + "\n")
    server.stdin.flush()
    result, seconds = json.loads(server.stdout.readline())
    if result is None:
        raise ChildProcessError(f"the process that decoded {path} ended with {seconds}")
    return Outcome(result, float(seconds))


@functools.cache
def _fork_server() -> subprocess.Popen[str]:
    """A process that has loaded the decoders and forks for each file: loading them takes longer than most files."""
    command = [sys.executable, "-W", "error", "-c", CODE]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    atexit.register(server.communicate)
    return server
