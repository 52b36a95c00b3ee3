"""Decodes a file in a process with the limits that a worker has."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testing import ROOT

CODE = """
import io, resource, sys, time
from PIL import Image
from gateway.images import ImageError, Target, decode_image, rewrite_image

path, max_pixels, side, heap, cpu_seconds = sys.argv[1], *map(int, sys.argv[2:])
for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):  # loads what a worker has loaded before its limits are set
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    decode_image(buffer.getvalue(), Target(8, 8))
try:
    import pillow_heif
except ImportError:
    pass
data = open(path, "rb").read()
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + heap, mapped + heap))
resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
started = time.process_time()
try:
    outcome = "x".join(map(str, decode_image(data, Target(side, side), max_pixels=max_pixels).shape))
except ImageError as error:
    outcome = error.code
print(outcome, time.process_time() - started)
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
        subprocess.CalledProcessError: The process ended without an outcome.
    """
    arguments = [str(path), *map(str, (max_pixels, side, heap_bytes, cpu_seconds))]
    run = [sys.executable, "-W", "error", "-c", CODE, *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120, cwd=ROOT)
    result, seconds = done.stdout.split()
    return Outcome(result, float(seconds))
