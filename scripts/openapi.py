"""Writes openapi.json, the description of the API: `python -m scripts.openapi`."""

import json
from pathlib import Path

from gateway.app import create_app
from gateway.settings import Settings

OPENAPI = Path(__file__).parent.parent / "openapi.json"


def described() -> str:
    """The description as JSON, as the gateway with default settings returns it at /openapi.json."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OPENAPI.write_text(described(), encoding="utf-8")
