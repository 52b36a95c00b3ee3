"""``python -m gateway``: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.app import check_parts, create_app
from gateway.command_line import SettingsError, fail, load_settings, parse_options, unknown_variables
from gateway.http.server.listening import check_port, listen
from gateway.http.server.protocol import HttpProtocol
from gateway.observability import logs
from gateway.observability.metrics import shared_between
from gateway.settings import Settings

logger = logging.getLogger(__name__)

MAX_OPEN_FILES = 65_536
"""Limit on open files to request; each connection is an open file."""

KEEP_ALIVE_SECONDS = 75
"""How long to keep an idle connection: longer than load balancers do, typically 60 seconds.

If the server closed it first, a request that the balancer has just sent would be lost."""


def app_from_environment() -> FastAPI:
    """Create the app from the environment; every gateway process calls this."""
    settings = Settings()
    logs.configure(settings)
    app = create_app(settings)
    # The imported code is never freed. Freezing its 80,000 objects excludes them from full garbage collections, which
    # pause every thread.
    gc.collect()
    gc.freeze()
    return app


def main(arguments: Sequence[str] | None = None, prog: str = "breed-gateway") -> int:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        arguments: The command line; None for that of this process.
        prog: Name of the program in messages.

    Returns:
        The exit status: 0 after a clean stop, 2 if the settings are not valid, 3 if the gateway cannot start.

    Raises:
        SystemExit: For ``--help``, ``--version``, mistakes on the command line, and as `check_parts` raises it.
    """
    parse_options(prog, arguments, os.environ)
    try:
        settings = load_settings()
    except SettingsError as error:
        return fail(prog, error)
    logs.configure(settings)
    if unknown := unknown_variables(os.environ):
        logger.warning("ignoring unknown environment variables: %s", ", ".join(unknown))
    raise_open_files_limit()
    check_parts(settings)  # check here, because uvicorn restarts a process that exits
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
    if settings.grpc_port:
        try:
            check_port(settings.host, settings.grpc_port)
        except OSError as error:
            logger.error("cannot listen on %s port %d for gRPC: %s", settings.host, settings.grpc_port, error.strerror)
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
    """Exits with status 0 after SIGTERM. uvicorn would raise the signal again after stopping, and be killed by it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if sig == signal.SIGTERM:
            self._captured_signals.remove(sig)


class _Workers(Multiprocess):
    """Closes the listening socket when its processes stop. Otherwise, the system would accept further connections."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def raise_open_files_limit() -> None:
    """Raise the soft limit on open files, usually 1,024, towards `MAX_OPEN_FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


if __name__ == "__main__":
    sys.exit(main())
