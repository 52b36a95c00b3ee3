"""Slots that callers take in turns.

With a plain queue, one caller with a lot of work would delay everyone else. Here each free slot goes to the next
caller, then to the next request of that caller, then to the oldest item of that request. So a single photo waits for at
most one image of every other request. If CPU time is counted, a caller is placed further back the more it has used
recently, up to a limit. So callers who used less come first, and nobody waits forever. A request can be put on hold.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded

HALVING_SECONDS = 30.0
"""Time in which the recorded CPU time of each caller halves."""

MAX_WAIT_SECONDS = 2.0
"""A caller is placed back by less than this, however much CPU time it has used. Callers who come later than that never
overtake it, even if each of them is new. Only requests on hold can be overtaken for longer."""

HALF_WAIT_CPU_SECONDS = 0.5
"""CPU time that places a caller back by half of `MAX_WAIT_SECONDS`: about twenty photos from a phone."""

NEGLIGIBLE_SECONDS = 0.01
"""Recorded CPU time below which a caller is removed."""

T = TypeVar("T")

Turn = tuple[str, Hashable]
"""The caller (name of an API key, or an address) and an identifier of the request."""


class TurnQueue(Generic[T]):
    """A queue whose items are taken in turns between callers and requests.

    A caller whose CPU time is charged is placed further back: see `MAX_WAIT_SECONDS`. Items of a request on hold stay
    in the queue, but are neither counted nor taken.
    """

    def __init__(self) -> None:
        self._callers: dict[str, OrderedDict[Hashable, deque[T]]] = {}
        self._places: dict[str, float] = {}
        self._size = 0
        self._holds: Counter[Turn] = Counter()
        self._on_hold: defaultdict[Turn, deque[T]] = defaultdict(deque)
        self._used: dict[str, float] = {}
        self._halved_at = time.monotonic()

    def __len__(self) -> int:
        return self._size

    def charge(self, caller: str, seconds: float) -> None:
        """Count CPU time that a caller has used."""
        self._used[caller] = self.used(caller) + seconds

    def used(self, caller: str) -> float:
        """CPU time that a caller has used recently. It halves every `HALVING_SECONDS`."""
        halvings = (time.monotonic() - self._halved_at) // HALVING_SECONDS
        if halvings:
            self._halved_at += halvings * HALVING_SECONDS
            halved = {one: used * 0.5**halvings for one, used in self._used.items()}
            self._used = {one: used for one, used in halved.items() if used > NEGLIGIBLE_SECONDS}
        return self._used.get(caller, 0.0)

    def cpu_lead(self, caller: str) -> float:
        """CPU time of a caller minus the smallest of the others who wait; negative infinity if nobody else waits."""
        return self.used(caller) - min(
            (self.used(other) for other in self._callers if other != caller), default=math.inf
        )

    def others(self, turn: Turn) -> bool:
        """Whether there are items of other requests than this one."""
        caller, request = turn
        own = self._callers.get(caller, OrderedDict()).get(request, deque())
        return self._size > len(own)

    def is_on_hold(self, turn: Turn) -> bool:
        """Whether a request is on hold."""
        return turn in self._holds

    def hold(self, turn: Turn) -> None:
        """Put a request on hold until `resume` has been called as often as this method."""
        self._holds[turn] += 1
        caller, request = turn
        items = self._callers.get(caller, OrderedDict()).get(request, deque())
        for item in list(items):
            self.discard(turn, item)
            self._on_hold[turn].append(item)

    def resume(self, turn: Turn) -> None:
        """End a hold. The items come behind those of other requests."""
        self._holds[turn] -= 1
        if not self._holds[turn]:
            del self._holds[turn]
            for item in self._on_hold.pop(turn, ()):
                self.put(turn, item)

    def put(self, turn: Turn, item: T) -> None:
        """Add an item behind the others of its request."""
        if self.is_on_hold(turn):
            self._on_hold[turn].append(item)
            return
        caller, request = turn
        if caller not in self._callers:
            self._callers[caller] = OrderedDict()
            self._place(caller)
        self._callers[caller].setdefault(request, deque()).append(item)
        self._size += 1

    def take(self) -> T:
        """Remove and return the next item.

        Raises:
            IndexError: There is none.
        """
        if not self._callers:
            raise IndexError("take from an empty queue")
        caller = min(self._places, key=self._places.__getitem__)
        requests = self._callers[caller]
        request, items = requests.popitem(last=False)
        item = items.popleft()
        self._size -= 1
        if items:
            requests[request] = items
        if requests:
            self._place(caller)
        else:
            del self._callers[caller], self._places[caller]
        return item

    def discard(self, turn: Turn, item: T) -> None:
        """Remove an item, if it is still here."""
        if self.is_on_hold(turn) and item in self._on_hold[turn]:
            self._on_hold[turn].remove(item)
            return
        caller, request = turn
        requests = self._callers.get(caller, OrderedDict())
        items = requests.get(request, deque())
        if item not in items:
            return
        items.remove(item)
        self._size -= 1
        if not items:
            del requests[request]
        if not requests:
            del self._callers[caller], self._places[caller]

    def _place(self, caller: str) -> None:
        """Place a caller behind the others, or ahead of those who have used more."""
        used = self.used(caller)
        self._places[caller] = time.monotonic() + MAX_WAIT_SECONDS * used / (used + HALF_WAIT_CPU_SECONDS)


class Turns:
    """A semaphore whose waiters take turns."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: TurnQueue[asyncio.Future[None]] = TurnQueue()
        self.charge = self._waiting.charge
        self.cpu_lead = self._waiting.cpu_lead
        self.others_wait = self._waiting.others
        self.hold = self._waiting.hold

    @property
    def waiting(self) -> int:
        """Number of waiters whose requests are not on hold."""
        return len(self._waiting)

    async def acquire(self, turn: Turn) -> None:
        """Wait for a slot; `release` gives it back."""
        if self._free and not self._waiting and not self._waiting.is_on_hold(turn):
            self._free -= 1
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(turn, slot)
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release()  # it was handed over while the waiter was being cancelled
            else:
                self._waiting.discard(turn, slot)
            raise

    def release(self) -> None:
        """Give a slot to the next in turn."""
        self._free += 1
        self._give()

    def resume(self, turn: Turn) -> None:
        """End a hold; see `TurnQueue.resume`."""
        self._waiting.resume(turn)
        self._give()

    def _give(self) -> None:
        while self._free and self._waiting:
            slot = self._waiting.take()
            if not slot.done():
                self._free -= 1
                slot.set_result(None)

    @asynccontextmanager
    async def slot(self, turn: Turn, deadline: Deadline) -> AsyncIterator[None]:
        """Hold a slot during a block; raises DeadlineExceeded if none was free in time."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self.acquire(turn)
        except TimeoutError:
            raise DeadlineExceeded("The request was still waiting in the queue at its deadline.") from None
        try:
            yield
        finally:
            self.release()
