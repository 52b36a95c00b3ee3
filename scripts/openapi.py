"""Writes openapi.json, the description of the API that clients are generated from: `python -m scripts.openapi`."""

import json
from pathlib import Path

from gateway.app import create_app
from gateway.settings import Settings

OPENAPI = Path(__file__).parent.parent / "openapi.json"


def described() -> str:
    """The description as JSON text, as the gateway with its default settings gives it at /openapi.json."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OPENAPI.write_text(described(), encoding="utf-8")
