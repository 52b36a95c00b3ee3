"""``python -m gateway``: serve, configured by the environment."""

from __future__ import annotations

import logging
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from gateway.app import create_app
from gateway.protocol import HttpProtocol
from gateway.settings import Settings


def app_from_environment() -> FastAPI:
    """The app as the environment configures it; every worker process calls this."""
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    return create_app(settings)


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status."""
    try:
        settings = Settings()
    except ValidationError as error:
        for one in error.errors():
            name = "_".join(str(part) for part in one["loc"]) or "settings"
            print(f"gateway: GATEWAY_{name.upper()}: {one['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    uvicorn.run(
        "gateway.__main__:app_from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=HttpProtocol,
        ws="none",
        access_log=False,
        log_level=settings.log_level,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
