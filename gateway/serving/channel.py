"""The gRPC channel to the model servers: addresses, retries, keepalive, TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import socket
import time
from collections.abc import Sequence

import grpc
import grpc.aio

from gateway.deadline import Deadline
from gateway.errors import ModelServerUnavailable
from gateway.settings import Settings

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 256 * 2**20
"""Largest message. gRPC's default of 4 MiB is less than the heat maps of one full batch."""

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "tensorflow.serving.PredictionService"},
                {"service": "tensorflow.serving.ModelService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # The retry budget: each failure takes one token, each success gives half of one back, and under half of the tokens
    # nothing is retried, so that a struggling server is not hit four times as hard. It lasts for all the requests that
    # one dying server of several takes along. A thousand is the most that gRPC admits.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.5},
}

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC keeps a request to send it again only up to this; its default of 256 KiB is less than two photos.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # A restarted server is found again within a second or two; the default backs off to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # By default, all channels of a process to one address share a connection, and its backoff after a failure.
    ("grpc.use_local_subchannel_pool", 1),
    # Proxies in the environment are for other hosts.
    ("grpc.enable_http_proxy", 0),
)

LONE_SERVER_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No other server could answer, so pings are useless. The timeout works without them: on Linux, gRPC sets
    # TCP_USER_TIMEOUT, and the kernel drops a connection whose peer acknowledges nothing for that long.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

PING_SHARE = 1 / 3
"""Share of the time limit of a request after which a silent server is pinged, and after which the ping fails.

So a server that hangs (stopped, out of memory, unreachable) is detected while its calls can still go to another one.
Servers treat a fourth ping without data in between as abuse (ENHANCE_YOUR_CALM). gRPC's client sends no more than two,
and then waits a minute."""

MIN_PING_SECONDS = 2.0
"""Minimum interval. With one second, 32 of 1,077 calls failed with 503 in one of two runs on an overloaded machine."""

DNS_NAME = re.compile(r"(dns:(///)?)?[^:/,\[\]]+:\d+")
"""Targets whose name this process resolves as well. Only gRPC can resolve other schemes."""

RESOLVE_SECONDS = 30.0
"""Maximum age of the resolved addresses of a list of names."""

RESOLVE_AGAIN_SECONDS = 2.0
"""Maximum age after a failed call: a new container has another address under the same name."""

OLD_CALLS_SECONDS = 60.0
"""Time for calls on replaced connections to finish."""


def tls_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """The credentials of an encrypted channel; None if TLS is off. Raises OSError if a file cannot be read."""
    if not settings.serving_tls:
        return None
    files = (settings.serving_tls_ca, settings.serving_tls_key, settings.serving_tls_certificate)
    return grpc.ssl_channel_credentials(*(file.read_bytes() if file else None for file in files))


class ModelServerChannel:
    """The channel to a target. Resolves the names in a list, which gRPC does not support."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None = None,
        server_name: str = "",
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        request_seconds: float = 10.0,
    ) -> None:
        """Open the channel; it connects on first use.

        Args:
            target: ``host:port`` or anything with a scheme (``dns:///serving:8500``, ``unix:/path``) as gRPC takes it:
                a name with several addresses is used in turn. Or several hosts, names or addresses, separated by
                commas.
            credentials: See `tls_credentials`; None: not encrypted.
            server_name: Name in the server's certificate, if it differs from the host name.
            interceptors: Called around every call.
            request_seconds: The most time that a request has.
        """
        self._credentials = credentials
        self._interceptors = interceptors
        self._hosts = [part.strip() for part in target.split(",") if part.strip()]
        listed = len(self._hosts) > 1
        self.replicated = listed or not (target.startswith("unix:") or _is_address(_split(self._hosts[0])[0]))
        """Whether there may be several servers."""
        self.servers = 1
        """Number of known servers. Names are resolved with the first calls."""
        pings = _pings(request_seconds) if self.replicated else LONE_SERVER_OPTIONS
        names = ("grpc.ssl_target_name_override", "grpc.default_authority") if server_name else ()
        self._options = (*CHANNEL_OPTIONS, *pings, *((name, server_name) for name in names))
        self._names = listed and not all(_is_address(_split(host)[0]) for host in self._hosts)
        self._looks_up = self._names or (self.replicated and DNS_NAME.fullmatch(target.strip()) is not None)
        self._addresses = "" if self._names else _listed(self._hosts) if listed else target.strip()
        if listed and not self._names:
            self.servers = _count(self._addresses)
        self._channel = None if self._names else self._open(self._addresses)
        self._looked_up = 0.0
        self._lookup: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def channel(self, deadline: Deadline) -> grpc.aio.Channel:
        """The channel to use now; raises ModelServerUnavailable if none of the names can be looked up."""
        if self._looks_up and (self._channel is None or time.monotonic() - self._looked_up > RESOLVE_SECONDS):
            self._look_up()
            if self._channel is None and self._lookup is not None:
                await asyncio.wait({self._lookup}, timeout=deadline.remaining())
        if self._channel is None:
            raise ModelServerUnavailable("The host name of the model server cannot be resolved.")
        return self._channel

    def failed(self) -> None:
        """Report that a call did not reach a server, so that the names are resolved again."""
        if self._names and time.monotonic() - self._looked_up > RESOLVE_AGAIN_SECONDS:
            self._look_up()

    async def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        if self._lookup is not None:
            self._lookup.cancel()
        for task in self._closing:
            task.cancel()
        if self._channel is not None:
            await self._channel.close()

    def _open(self, addresses: str) -> grpc.aio.Channel:
        options, interceptors = self._options, self._interceptors
        if self._credentials is None:
            return grpc.aio.insecure_channel(addresses, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(addresses, self._credentials, options=options, interceptors=interceptors)

    def _look_up(self) -> None:
        if self._lookup is None:
            self._looked_up = time.monotonic()
            self._lookup = asyncio.create_task(self._replace())
            self._lookup.add_done_callback(self._looked_up_now)

    def _looked_up_now(self, done: asyncio.Task[None]) -> None:
        self._lookup = None
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("cannot resolve the model servers", exc_info=error)

    async def _replace(self) -> None:
        """Look all names up, and open another channel where the addresses of a list of them have changed."""
        loop = asyncio.get_running_loop()
        split = [_split(host) for host in self._hosts]
        answers = await asyncio.gather(
            *(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM) for host, port in split), return_exceptions=True
        )
        resolved: set[str] = set()
        for host, answer in zip(self._hosts, answers, strict=True):
            if isinstance(answer, BaseException):
                logger.warning("cannot resolve the model server %s: %s", host, answer)
                continue
            resolved |= {_joined(str(place[0]), int(place[1])) for *_, place in answer}
        if not resolved:
            return
        addresses = _listed(sorted(resolved))
        self.servers = _count(addresses)
        if not self._names or addresses == self._addresses:
            return  # gRPC follows a single name by itself
        if self._channel is not None:
            # Calls on the old connections finish there.
            closing = asyncio.create_task(self._channel.close(OLD_CALLS_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._addresses, self._channel = addresses, self._open(addresses)


def _pings(request_seconds: float) -> tuple[tuple[str, int], ...]:
    milliseconds = round(max(MIN_PING_SECONDS, request_seconds * PING_SHARE) * 1000)
    # gRPC pings to measure the connection as well, waits a minute for those, and sends no other meanwhile.
    names = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
    return tuple((name, milliseconds) for name in names)


def _listed(hosts: list[str]) -> str:
    """GRPC's name of several addresses; it takes them of one family, so IPv6 counts only where there is no IPv4."""
    fourth = [host for host in hosts if _split(host)[0].count(":") == 0]
    return "ipv4:" + ",".join(fourth) if fourth else "ipv6:" + ",".join(hosts)


def _count(listed: str) -> int:
    return len(set(listed.partition(":")[2].split(",")))


def _split(host: str) -> tuple[str, str]:
    name, _, port = host.rpartition(":")
    if name.startswith("dns:"):
        name = name.removeprefix("dns:").removeprefix("///")
    return name.strip("[]"), port


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
