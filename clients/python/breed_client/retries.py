"""When a request is repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

from breed_client.errors import ApiError, ConnectionFailed


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

    def wait_after(self, attempt: int, error: ApiError | httpx.TransportError) -> float:
        """Seconds until the next attempt.

        Args:
            attempt: Number of attempts so far.
            error: Why the last one failed.

        Raises:
            ApiError: It is the error, and there is no other attempt.
            ConnectionFailed: The connection failed, and there is no other attempt.
        """
        retry_after = None
        repeated = attempt < self.attempts
        if isinstance(error, ApiError):
            retry_after = error.retry_after
            repeated = repeated and error.retryable and (retry_after or 0.0) <= self.max_wait_seconds
        if not repeated:
            if isinstance(error, ApiError):
                raise error
            raise ConnectionFailed(f"no answer from {error.request.url}: {error}") from error
        if retry_after is not None:
            return retry_after
        wait = self.backoff_seconds * 2.0 ** (attempt - 1)
        return min(wait * random.uniform(0.75, 1.25), self.max_wait_seconds)  # noqa: S311 - spreads clients
