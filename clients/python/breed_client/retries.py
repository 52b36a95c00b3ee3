"""When a request is repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass

from breed_client.errors import ApiError


@dataclass(frozen=True)
class Retries:
    """How often and after what time a request is repeated.

    Attributes:
        attempts: Most attempts, the first included.
        backoff_seconds: Wait before the second attempt if the gateway names none. It doubles with each attempt.
        max_wait_seconds: Longest wait. If the gateway asks for more, the error is raised at once.
    """

    attempts: int = 5
    backoff_seconds: float = 0.5
    max_wait_seconds: float = 60.0

    def wait_after(self, attempt: int, error: ApiError | None) -> float | None:
        """Seconds until the next attempt; None if there is none.

        Args:
            attempt: Number of attempts so far.
            error: The answer to the last one; None if there was no answer.
        """
        if attempt >= self.attempts or (error is not None and not error.retryable):
            return None
        if error is not None and error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_wait_seconds else None
        wait = self.backoff_seconds * 2.0 ** (attempt - 1)
        return min(wait * random.uniform(0.75, 1.25), self.max_wait_seconds)  # noqa: S311 - spreads clients
