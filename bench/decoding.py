"""CPU time of decoding, and what scaled decoding saves without changing the answers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bench.clients import OPTIONS, PREDICT, TIMEOUT_SECONDS, request_for, scores_of
from gateway.images import Target, decode_image

Pixels = npt.NDArray[np.uint8]

LARGE = (4000, 3000)
"""Twelve megapixels."""


@dataclass(frozen=True)
class Decoding:
    """CPU milliseconds per photo, and the number of photos that keep their best label with full decoding."""

    photo_ms: float
    large_scaled_ms: float
    large_full_ms: float
    same_top1: int
    photos: int


def measure(photos: Sequence[bytes], target: Target, address: str, model: str) -> Decoding:
    """Measures decoding in one thread, and compares the answers for both kinds of pixels.

    Full decoding is the obvious way: decode all pixels, rotate them, and resize with antialiasing in one step.
    """
    large = _enlarged(photos[:3])
    same = 0
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)

        def top(pixels: Pixels) -> int:
            return int(np.argmax(scores_of(send(request_for(model, pixels[None]), timeout=TIMEOUT_SECONDS))))

        for photo in photos:
            same += top(decode_image(photo, target)) == top(_fully(photo, target))
    return Decoding(
        photo_ms=_best_ms(decode_image, photos, target, 5),
        large_scaled_ms=_best_ms(decode_image, large, target, 5),
        large_full_ms=_best_ms(_fully, large, target, 3),
        same_top1=same,
        photos=len(photos),
    )


def _fully(photo: bytes, target: Target) -> Pixels:
    with Image.open(io.BytesIO(photo)) as opened:
        image = ImageOps.exif_transpose(opened.convert("RGB"))
    size, filter_ = (target.width, target.height), Image.Resampling[target.interpolation.upper()]
    if target.fit == "crop":
        return np.asarray(ImageOps.fit(image, size, filter_))
    return np.asarray(ImageOps.pad(image, size, filter_) if target.fit == "pad" else image.resize(size, filter_))


def _best_ms(decode: Callable[[bytes, Target], Pixels], photos: Sequence[bytes], target: Target, times: int) -> float:
    times_ms = []
    for _ in range(times):
        started = time.thread_time()
        for photo in photos:
            decode(photo, target)
        times_ms.append((time.thread_time() - started) / len(photos) * 1e3)
    return min(times_ms)


def _enlarged(photos: Sequence[bytes]) -> list[bytes]:
    files = []
    for photo in photos:
        with Image.open(io.BytesIO(photo)) as image:
            file = io.BytesIO()
            image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files
