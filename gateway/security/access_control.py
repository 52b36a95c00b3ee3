"""Who may call and how often, over HTTP as over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import Unauthorized
from gateway.security.api_keys import ApiKeys, request_key
from gateway.security.rate_limits import RateLimits


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The accepted keys, and the limits of each caller, which HTTP and gRPC share.

    Attributes:
        keys: Accepted keys. Without any, everyone may call.
        limits: Limit on the requests of each key, or of each address if there are no keys.
        image_limits: Limit on their images.
        refusal: What callers with another key are told.
    """

    keys: ApiKeys
    limits: RateLimits
    image_limits: RateLimits
    refusal: str = "This API key is not known."

    def __bool__(self) -> bool:
        return bool(self.keys or self.limits or self.image_limits)

    def owner(self, headers: Mapping[str, str]) -> str | None:
        """Name of the API key of a request; None if the key is missing or wrong, or none is needed."""
        key = request_key(headers) if self.keys else None
        return self.keys.owner(key) if key is not None else None

    async def admit(self, headers: Mapping[str, str], owner: str | None, caller: str) -> list[tuple[str, str]]:
        """Count a request for a caller, and check that it has a key if one is needed.

        `owner` is the name of the key. Requests with a wrong key are counted by address.

        Returns:
            The response headers of the rate limit.

        Raises:
            RateLimited: The limit is exceeded.
            Unauthorized: The key is missing or wrong.
        """
        counted = await self.limits.count(caller) if self.limits else []
        if self.keys and owner is None:
            raise Unauthorized(
                "An API key is needed, as Authorization: Bearer or X-API-Key."
                if request_key(headers) is None
                else self.refusal
            )
        return counted
