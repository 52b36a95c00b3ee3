"""``python -m gateway``: serve, configured by the environment."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.app import create_app
from gateway.http.server.listening import listen
from gateway.http.server.protocol import HttpProtocol
from gateway.observability import logs
from gateway.observability.metrics import shared_between
from gateway.settings import PREFIX, Settings, rename_variables, unknown_variables

logger = logging.getLogger(__name__)

MAX_OPEN_FILES = 65_536
"""As many as are asked for where the system allows more."""

KEEP_ALIVE_SECONDS = 75
"""For how long an idle connection is kept: longer than balancers do, which is 60 seconds by habit.

Where the server is the first to close it, a caller that has just sent its next request loses it."""


def app_from_environment() -> FastAPI:
    """The app as the environment configures it; every worker process calls this."""
    settings = Settings()
    logs.configure(settings)
    app = create_app(settings)
    # What is there now stays for good, so the collector need not look at it again: a full collection visits some
    # 80,000 objects of imported code, and holds up every thread for as long.
    gc.collect()
    gc.freeze()
    return app


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status."""
    renamed = rename_variables(os.environ)
    try:
        settings = Settings()
    except ValidationError as error:
        for one in error.errors():
            setting, *inside = map(str, one["loc"] or ("",))
            where = ": ".join([f"{PREFIX}{setting.upper()}", *inside]) if setting else "settings"
            print(f"gateway: {where}: {one['msg'].removeprefix('Value error, ')}", file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(settings)
    for sentence in renamed:
        logger.warning(sentence)
    if unknown := unknown_variables(os.environ):
        logger.warning("the environment has what is no setting: %s", ", ".join(unknown))
    raise_open_files_limit()
    with shared_between(settings.workers):
        return _serve(settings)


def _serve(settings: Settings) -> int:
    config = uvicorn.Config(
        "gateway.__main__:app_from_environment",
        factory=True,
        workers=settings.workers,
        http=HttpProtocol,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        access_log=False,
        log_config=None,
        log_level=settings.log_level,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    try:
        sockets = listen(settings.host, settings.port)
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror)
        return STARTUP_FAILURE
    if settings.workers > 1:
        workers = _Workers(config, sockets)
        workers.run()
        return STARTUP_FAILURE if any(one.exitcode == STARTUP_FAILURE for one in workers.processes) else 0
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


class _Server(uvicorn.Server):
    """Ends with status 0 after SIGTERM; uvicorn raises the signal again when it has stopped, and dies of it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if sig == signal.SIGTERM:
            self._captured_signals.remove(sig)


class _Workers(Multiprocess):
    """Lets go of the listening socket when its processes are told to stop: or the system would go on accepting."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def raise_open_files_limit() -> None:
    """Each connection is an open file, and the usual limit of 1,024 is soft."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
