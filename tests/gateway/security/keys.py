"""API keys as settings have them."""

import hashlib


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
