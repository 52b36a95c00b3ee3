"""API keys. Several can be valid at once, so that they can be rotated, and only their hashes are stored."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gateway import __version__

NAME = "[A-Za-z0-9._-]{1,64}"

ENTRY = re.compile(rf"(?:(?P<name>{NAME}):)?(?P<hash>[0-9a-f]{{64}})")
"""``name:hash`` or only the hash: SHA-256 of the key, in lower-case hexadecimal.

A fast hash is safe here: a key has 256 random bits, so it cannot be guessed."""


class ApiKeys:
    """The accepted API keys, from entries with their hashes.

    Raises:
        ValueError: An entry does not have the form of `ENTRY`.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._owners: list[tuple[bytes, str]] = []
        for number, entry in enumerate(entries, 1):
            match = ENTRY.fullmatch(entry.strip())
            if match is None:
                raise ValueError(f"API key {number} is not a SHA-256 hash or NAME:HASH; `breed api-key` creates one")
            self._owners.append((bytes.fromhex(match["hash"]), match["name"] or f"key {number}"))

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner(self, key: str) -> str | None:
        """Name of the key; None if the key is not accepted. Takes the same time for every key."""
        digest = hashlib.sha256(key.encode()).digest()
        owner = None
        for accepted, name in self._owners:
            if hmac.compare_digest(digest, accepted):
                owner = name
        return owner


def request_key(headers: Mapping[str, str]) -> str | None:
    """The key that a request sends as ``Authorization: Bearer`` or ``X-API-Key``. Header names are in lower case."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


def read_entries(file: Path) -> list[str]:
    """Entries of a file, one per line; empty lines and lines that begin with # are skipped."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(arguments: Sequence[str] | None = None, prog: str = "python -m gateway.security.api_keys") -> int:
    """Create an API key, and print it with the entry for the settings; returns the exit status."""
    parser = argparse.ArgumentParser(prog=prog, description="Create an API key and the hash that the gateway stores.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--name", type=_name, help="name of the key in logs and rate limits")
    name = parser.parse_args(arguments).name
    key = secrets.token_urlsafe(32)
    entry = hashlib.sha256(key.encode()).hexdigest()
    print(f"key, for the caller:           {key}")  # noqa: T201
    print(f"entry, for GATEWAY_API_KEYS:   {f'{name}:{entry}' if name else entry}")  # noqa: T201
    return 0


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(f"expected 1 to 64 letters, digits, dots, underscores or hyphens: {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
