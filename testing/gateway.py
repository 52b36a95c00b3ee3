"""Run the gateway in a thread of this process, or in a process of its own."""

from __future__ import annotations

import asyncio
import atexit
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.types import ASGIApp

from gateway.__main__ import KEEP_ALIVE_SECONDS
from gateway.app import create_app
from gateway.http.server.protocol import HttpProtocol
from gateway.settings import Settings
from gateway.workers.fork_server import ForkServer
from testing.polling import DEADLINE_SECONDS, until, until_async
from testing.processes import LOOPBACK, Process, reserved_port

FORK_SERVER = ForkServer()
"""The fork server of all gateways in threads of this process; starting one takes 0.3 s of CPU time."""
atexit.register(FORK_SERVER.close)

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients without TLS. Each would otherwise read all certificate authorities, 36 ms of CPU time."""


class _Server(uvicorn.Server):
    """Stops within a few milliseconds, not in steps of 100: hundreds of tests start a gateway each."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As in uvicorn, without its pauses of 100 ms."""
        assert not sockets
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await until_async(lambda: not self.server_state.connections and not self.server_state.tasks)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()
        await self.lifespan.shutdown()


@contextmanager
def running_gateway(settings: Settings, app: ASGIApp | None = None, port: int = 0) -> Iterator[httpx.Client]:
    """Run a gateway in a thread.

    Args:
        settings: Of the gateway.
        app: Served in its place; it may be the gateway's app with something around it.
        port: Where to listen; 0 takes a free port.

    Yields:
        A client of it.
    """
    config = uvicorn.Config(
        app or create_app(settings, fork_server=FORK_SERVER),
        port=port,
        http=HttpProtocol,
        ws="none",
        log_config=None,  # logging is configured once, by whoever runs this process
        log_level="error",
        # Not uvicorn's 5 s, as long as httpx keeps connections: a client would use one that is being closed.
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the gateway is up")
    assert server.started, "the gateway ended"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(
            base_url=f"http://{LOOPBACK}:{port}", timeout=DEADLINE_SECONDS, verify=NO_AUTHORITIES
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(DEADLINE_SECONDS)


@contextmanager
def gateways(target: str, **defaults: object) -> Iterator[Callable[..., httpx.Client]]:
    """Run any number of gateways before a model server with a model ``colours``.

    Args:
        target: Address of the model server.
        defaults: Settings of all of them.

    Yields:
        A function that starts one with further settings, and returns a client of it.
    """
    usual: dict[str, object] = {
        "serving_target": target,
        "default_model": "colours",
        "model_refresh_seconds": 0.05,
        "request_timeout_seconds": 60,  # a busy machine is slow
    }
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running_gateway(Settings.model_validate(usual | defaults | settings))
        )


@contextmanager
def gateway_process(target: str, log: Path | None = None, **settings: str) -> Iterator[tuple[httpx.Client, Process]]:
    """Run ``python -m gateway`` in front of a model server with a model ``colours``.

    Args:
        target: Address of the model server.
        log: File for its output.
        settings: Upper-case names of settings, without their prefix.

    Yields:
        A client and the process. The client opens a connection for each request, whose worker the kernel chooses.
    """
    # Busy machines are slow: only tests that set the timeout may exceed it.
    values = {"SERVING_TARGET": target, "DEFAULT_MODEL": "colours", "REQUEST_TIMEOUT_SECONDS": "60"}
    with tempfile.TemporaryDirectory() as folder, reserved_port() as port:
        environment = {f"GATEWAY_{name}": value for name, value in (values | {"PORT": str(port)} | settings).items()}
        process = Process("gateway", ["gateway"], environment, log or Path(folder, "gateway.log"))
        limits = httpx.Limits(max_keepalive_connections=0)
        try:
            url = f"http://{LOOPBACK}:{port}"
            with httpx.Client(base_url=url, limits=limits, timeout=DEADLINE_SECONDS, verify=NO_AUTHORITIES) as client:
                process.wait_until(lambda: is_live(client))
                yield client, process
        finally:
            process.stop()


def is_live(client: httpx.Client) -> bool:
    """Whether the gateway responds."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
