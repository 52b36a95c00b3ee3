"""Decoding off the event loop, with a bound on the memory that it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ImageTooLarge

SMALL_PIXELS = 4_000_000
"""Pixels up to which images are decoded on all threads at once: at most 64 MB each, as a WebP.

A JPEG of up to 32 megapixels, and so nearly every photo, passes for one: it is decoded at a part of its size."""

LARGE_BYTES = 2**20
"""That are freed in a thread: for 24 MB it takes up to 4 ms, in which the event loop would do nothing else."""

LARGE_AT_ONCE = 2
"""Larger images that are decoded at the same time, each in up to half a gigabyte at the usual pixel limit."""

T = TypeVar("T")
Decode = Callable[[int], T]
"""Decodes one image, given the most pixels that it may; gives `ImageTooLarge` before it decodes any more."""


class Clearable(Protocol):
    """A list, or what else can be emptied."""

    def clear(self) -> None:
        """Let go of all that is in it."""
        ...


class Decoders:
    """Threads that decode.

    Work waits on the event loop and not in the threads' queue, so that a request that is cancelled takes its bytes out
    of memory at once. A large image is found out by trying: its header alone is read twice.

    Args:
        threads: Images decoded at once.
        max_pixels: Most pixels of an image.
    """

    def __init__(self, threads: int, max_pixels: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._max_pixels = max_pixels
        # One more than there are threads: the next image is at hand when a thread is done.
        self._turn = asyncio.Semaphore(threads + 1)
        self._large = asyncio.Semaphore(min(LARGE_AT_ONCE, max(1, threads // 2)))

    async def run(self, decodes: Sequence[Decode[T]], deadline: Deadline) -> list[T]:
        """The results of several, in their order.

        Raises:
            DeadlineExceeded: They were not done in time; those not begun never will be.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                if len(decodes) == 1:
                    return [await self._one(decodes[0])]
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(decode)) for decode in decodes]
                return [task.result() for task in tasks]
        except TimeoutError:
            raise DeadlineExceeded("The images were not decoded within the request's deadline.") from None

    def free(self, held: Iterable[Clearable], size: int) -> None:
        """Empty lists, or the like, in a thread if they are large, once their request is over.

        A decode that has begun may still be at one; nobody waits for what it makes of it.

        Args:
            held: The lists.
            size: Bytes in all of them.
        """
        if size > LARGE_BYTES:
            with suppress(RuntimeError):  # the threads have ended, and so will the process
                self._pool.submit(_clear, list(held))

    def close(self) -> None:
        """Wait for what is being decoded; the rest is dropped."""
        self._pool.shutdown(cancel_futures=True)

    async def _one(self, decode: Decode[T]) -> T:
        result = await self._in_thread(decode, min(SMALL_PIXELS, self._max_pixels), self._turn)
        if isinstance(result, ImageTooLarge) and self._max_pixels > SMALL_PIXELS:
            return await self._in_thread(decode, self._max_pixels, self._large, self._turn)
        return result

    async def _in_thread(self, decode: Decode[T], max_pixels: int, *permits: asyncio.Semaphore) -> T:
        """Decode with permits, which a decode that has begun keeps to its end, even when nobody waits for it."""
        loop = asyncio.get_running_loop()
        taken: list[asyncio.Semaphore] = []

        def release() -> None:
            while taken:
                taken.pop().release()

        try:
            for permit in permits:
                await permit.acquire()
                taken.append(permit)
            work = self._pool.submit(decode, max_pixels)
        except BaseException:
            release()
            raise
        result: asyncio.Future[T] = loop.create_future()

        def finish(done: Future[T]) -> None:
            release()
            if result.done():
                return
            if done.cancelled():
                result.cancel()
            elif (error := done.exception()) is not None:
                result.set_exception(error)
            else:
                result.set_result(done.result())

        # One wake-up of the event loop for both.
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(finish, done))
        try:
            return await result
        except asyncio.CancelledError:
            work.cancel()
            raise


def _clear(held: Iterable[Clearable]) -> None:
    for one in held:
        one.clear()
