"""API keys: several at once, so that they can be rotated; only their hashes are ever stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers

ENTRY = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,64}):)?(?P<hash>[0-9a-f]{64})")
"""``name:hash`` or just the hash: SHA-256 of the key, in lower-case hexadecimal.

A plain hash is enough: a key is 256 random bits, which nobody finds by trying, and it must cost no time to check."""


class ApiKeys:
    """The keys that open the API.

    Args:
        entries: See `ENTRY`.

    Raises:
        ValueError: An entry is not of that form.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._owners: list[tuple[bytes, str]] = []
        for number, entry in enumerate(entries, 1):
            match = ENTRY.fullmatch(entry.strip())
            if match is None:
                raise ValueError(f"API key {number} is not the SHA-256 of a key, or name:SHA-256")
            self._owners.append((bytes.fromhex(match["hash"]), match["name"] or f"key {number}"))

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner(self, key: str) -> str | None:
        """Name of the key; None for a wrong one. Takes the same time for any."""
        given = hashlib.sha256(key.encode()).digest()
        found = None
        for wanted, name in self._owners:
            if hmac.compare_digest(given, wanted):
                found = name
        return found


def given_key(headers: Headers) -> str | None:
    """The key that a request carries as ``Authorization: Bearer`` or ``X-API-Key``."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


def read_entries(file: Path) -> list[str]:
    """Entries of a file, one a line; empty lines and those that begin with # are passed over."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main() -> None:
    """Make a key: ``python -m gateway.security.api_keys``."""
    key = secrets.token_urlsafe(32)
    print(f"key, for the caller:          {key}")  # noqa: T201
    print(f"hash, for GATEWAY_API_KEYS:   {hashlib.sha256(key.encode()).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    main()
