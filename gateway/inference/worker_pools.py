"""The worker pools of a gateway process, and the choice of a pool for each job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from gateway.deadline import Deadline
from gateway.errors import ImageTooLarge, UploadTooLarge
from gateway.settings import Settings
from gateway.workers.failures import LARGE_IMAGES, LARGE_TENSORS, SMALL_IMAGES, SMALL_TENSORS, Work
from gateway.workers.fork_server import ForkServer
from gateway.workers.limits import Limits
from gateway.workers.messages import Buffer, Message
from gateway.workers.pool import Capacity, WorkerPool
from gateway.workers.turns import Turn

SMALL_PIXELS = 4_000_000
"""Maximum number of pixels for a small worker. A JPEG that is decoded at an eighth of its size may have eight times as
many, so small workers decode nearly every photo."""

SMALL_REQUEST_BYTES = 2 * 2**20
"""Size of an ordinary tensor request, such as a photo in base64."""

SMALL_LIMITS = Limits(memory_bytes=128 * 2**20, cpu_seconds=3)
"""Limits of a small worker. Most photos take a hundredth of either."""

SMALL_CPU_LEAD_LIMIT, LARGE_CPU_LEAD_LIMIT = 1.0, 3.0
"""CPU time that the callers of ordinary and of large work may use more than others who wait. The slowest files that are
accepted take some 0.3 s (a HEIC of 12 megapixels) and 1.8 s (a HEIC of 48)."""

IMAGE_OVERTIME, TENSOR_OVERTIME = 4, 1
"""Number of jobs of small workers that may continue beside the others after their time slice."""

COPIES = 3
"""Number of copies of a tensor job's reply in memory: as read, as a PredictRequest, and in gRPC."""

TENSOR_NICENESS = 5
"""Tensor requests have a lower priority than photos."""

BACKGROUND_NICENESS = 19
"""Work that no caller waits for gets the CPU time that others leave."""


class ImageWorkers:
    """Runs jobs on images: ordinary ones in many small workers, large ones one at a time with more memory.

    Each image is tried in a small worker first, which refuses one over `SMALL_PIXELS` after reading its header.
    """

    def __init__(self, small: WorkerPool, large: WorkerPool, max_pixels: int) -> None:
        self._small = small
        self._large = large
        self._max_pixels = max_pixels

    async def run(
        self,
        job: str,
        arguments: Mapping[str, object],
        buffers: Sequence[Buffer],
        turn: Turn,
        deadline: Deadline,
        on_start: Callable[[], None] | None = None,
    ) -> Message:
        """Run a job of `gateway.workers.jobs` that takes `max_pixels`; see `WorkerPool.run`."""
        try:
            small = {**arguments, "max_pixels": min(SMALL_PIXELS, self._max_pixels)}
            return await self._small.run(job, small, buffers, turn, deadline, on_start)
        except ImageTooLarge:
            if self._max_pixels <= SMALL_PIXELS:
                raise
        large = {**arguments, "max_pixels": self._max_pixels}
        return await self._large.run(job, large, buffers, turn, deadline, on_start)


class TensorWorkers:
    """Runs jobs on bodies and answers of tensor requests: ordinary ones do not wait for large ones.

    A few kilobytes of a body may become hundreds of megabytes of tensors, or of an answer. So small workers refuse a
    body whose content is larger, and replies count as memory of their request: see `Admission.hold`.
    """

    def __init__(self, small: WorkerPool, large: WorkerPool, hold: Callable[[Turn, int], None]) -> None:
        self._small = small
        self._large = large
        self._hold = hold

    async def run(
        self, job: str, arguments: Mapping[str, object], buffers: Sequence[Buffer], turn: Turn, deadline: Deadline
    ) -> Message:
        """Run a job as `WorkerPool.run` does. Raises Overloaded if there is no memory for the reply."""

        def on_reply(size: int) -> None:
            self._hold(turn, COPIES * size)

        if sum(len(piece) for buffer in buffers for piece in buffer) <= SMALL_REQUEST_BYTES:
            max_bytes = cast(int, arguments.get("max_bytes", 0))
            small = {**arguments, "max_bytes": min(SMALL_REQUEST_BYTES, max_bytes)}
            with suppress(UploadTooLarge):
                return await self._small.run(job, small, buffers, turn, deadline, on_reply=on_reply)
        return await self._large.run(job, arguments, buffers, turn, deadline, on_reply=on_reply)


class WorkerPools:
    """All worker pools of a gateway process. `hold` counts bytes that a request holds: see `Admission.hold`."""

    def __init__(self, settings: Settings, fork_server: ForkServer, hold: Callable[[Turn, int], None]) -> None:
        self._all: list[WorkerPool] = []

        def pool(capacity: Capacity, limits: Limits, work: Work, niceness: int = 0) -> WorkerPool:
            made = WorkerPool(fork_server, capacity, replace(limits, niceness=niceness), work)
            self._all.append(made)
            return made

        large = Limits(settings.worker_memory_bytes, settings.worker_cpu_seconds)
        single = Capacity(1, 0, LARGE_CPU_LEAD_LIMIT)
        self._first = pool(
            Capacity(settings.image_workers, IMAGE_OVERTIME, SMALL_CPU_LEAD_LIMIT, kept=1), SMALL_LIMITS, SMALL_IMAGES
        )
        self.images = ImageWorkers(self._first, pool(single, large, LARGE_IMAGES), settings.max_image_pixels)
        small = Capacity(1, TENSOR_OVERTIME, SMALL_CPU_LEAD_LIMIT)
        self.tensors = TensorWorkers(
            pool(small, SMALL_LIMITS, SMALL_TENSORS, TENSOR_NICENESS),
            pool(single, large, LARGE_TENSORS, TENSOR_NICENESS),
            hold,
        )
        self.background = pool(single, large, LARGE_IMAGES, BACKGROUND_NICENESS)

    async def warm_up(self) -> None:
        """Start a worker, so that the first photo finds it ready."""
        await self._first.warm_up()

    async def close(self) -> None:
        """Kill all workers. Jobs in progress must have been cancelled."""
        await asyncio.gather(*(pool.close() for pool in self._all))


def max_request_bytes(settings: Settings) -> int:
    """Memory of the gateway for one request: a body of any accepted size, tensors of the same size, and an answer."""
    return max(settings.max_body_bytes, (2 + COPIES) * settings.max_tensor_body_bytes)
