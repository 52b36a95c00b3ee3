"""The time a request has, from its arrival to its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time on the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """A deadline in that many seconds."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left.

        Raises:
            DeadlineExceeded: None is left.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("The answer was not ready before the deadline of the request.")
        return left
