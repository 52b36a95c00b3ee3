from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from gateway.deadline import Deadline
from gateway.decoding import SMALL_PIXELS, Decoders
from gateway.errors import DeadlineExceeded, ImageTooLarge


class Gauge:
    """Counts how many are in it at once, and lets them out when it is open."""

    def __init__(self) -> None:
        self.now = self.most = self.entered = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

    def decode(self, pixels: int, max_pixels: int) -> int | ImageTooLarge:
        if pixels > max_pixels:
            return ImageTooLarge("too many")
        with self._lock:
            self.now += 1
            self.entered += 1
            self.most = max(self.most, self.now)
        self.open.wait(10)
        with self._lock:
            self.now -= 1
        return pixels


async def entered(gauge: Gauge, count: int) -> None:
    async with asyncio.timeout(5):
        while gauge.entered < count:  # noqa: ASYNC110, another thread counts
            await asyncio.sleep(0.001)


async def test_large_images_are_decoded_few_at_a_time_and_small_ones_pass_them() -> None:
    large, small = Gauge(), Gauge()
    decoders = Decoders(4, 10 * SMALL_PIXELS)
    small.open.set()
    waiting = asyncio.create_task(decoders.run([partial(large.decode, 2 * SMALL_PIXELS)] * 6, Deadline.after(10)))
    await entered(large, 2)
    assert await decoders.run([partial(small.decode, 5)] * 20, Deadline.after(5)) == [5] * 20
    assert large.entered == 2
    large.open.set()
    assert await waiting == [2 * SMALL_PIXELS] * 6
    assert large.most == 2
    decoders.close()


async def test_an_image_over_the_limit_is_an_error_of_its_own() -> None:
    gauge = Gauge()
    gauge.open.set()
    decoders = Decoders(2, 2 * SMALL_PIXELS)
    results = await decoders.run([partial(gauge.decode, size) for size in (1, 9 * SMALL_PIXELS, 3)], Deadline.after(5))
    assert [isinstance(one, ImageTooLarge) for one in results] == [False, True, False]
    decoders.close()


async def test_what_waits_for_a_thread_is_dropped_at_the_deadline_and_never_begun() -> None:
    gauge = Gauge()
    decoders = Decoders(1, SMALL_PIXELS)
    first = asyncio.create_task(decoders.run([partial(gauge.decode, 1)], Deadline.after(10)))
    await entered(gauge, 1)
    with pytest.raises(DeadlineExceeded):
        await decoders.run([partial(gauge.decode, 2)] * 5, Deadline.after(0.05))
    gauge.open.set()
    assert await first == [1]
    assert await decoders.run([partial(gauge.decode, 3)], Deadline.after(5)) == [3]
    assert gauge.entered == 2
    decoders.close()


async def test_a_decode_nobody_waits_for_keeps_its_thread_until_it_ends() -> None:
    gauge = Gauge()
    decoders = Decoders(1, SMALL_PIXELS)
    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            await decoders.run([partial(gauge.decode, 1)], Deadline.after(0.02))
    assert gauge.entered == 1
    gauge.open.set()
    assert await decoders.run([partial(gauge.decode, 3)], Deadline.after(5)) == [3]
    assert gauge.most == 1
    decoders.close()
