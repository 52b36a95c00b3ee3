"""Read and process photos a few at a time in advance, in a fixed order and with little memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from trainer.prediction.records import Failure
from trainer.prediction.sources import Photo, Unreadable

Item = TypeVar("Item")
Result = TypeVar("Result")


def content(photo: Photo) -> bytes | Failure:
    """Returns the content of a file, or why it cannot be read."""
    try:
        return photo.read()
    except Unreadable as error:
        return Failure("unreadable", str(error))


def read_in_order(photos: Iterable[Photo]) -> Iterator[Photo]:
    """Yields each photo, already read if it must be read before the next one is found."""
    for photo in photos:
        yield replace(photo, read=_kept(content(photo))) if photo.in_order else photo


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yields the function of each item, in order. The pool computes it for up to `ahead` items that come next.

    Unlike `Executor.map`, this takes the items one by one, and cancels what waits if it is not iterated to its end.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _kept(data: bytes | Failure) -> Callable[[], bytes]:
    def read() -> bytes:
        if isinstance(data, Failure):
            raise Unreadable(data.detail)
        return data

    return read
