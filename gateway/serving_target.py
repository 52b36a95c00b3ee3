"""Check the address of the model server."""

from __future__ import annotations

import ipaddress
import re

SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")
"""Schemes of gRPC, for addresses that it resolves itself."""

HOST_AND_PORT = re.compile(r"(\[[^\[\]\s/]+\]|[^:;?@,/\s\[\]\"']+):([0-9]{1,5})")
PORT = 8500
"""TensorFlow Serving's default for gRPC; 8501 is its REST interface."""


def check_target(target: str) -> None:
    """Check the address of a model server, to find a mistake at the start and not at the first request.

    Raises:
        ValueError: It is neither ``host:port``, nor several of them separated by commas, nor an address with one of
            gRPC's schemes. The message suggests what to write instead, if possible.
    """
    if target.startswith(("unix:", "unix-abstract:", "xds:")):
        if not target.partition(":")[2].strip("/"):
            raise ValueError(f"{target!r} has nothing after its scheme")
        return
    if target.startswith(SCHEMES):
        scheme, _, rest = target.partition(":")
        authority = re.match(r"//[^/]*/", rest)
        if rest.startswith("//") and not authority:
            raise ValueError(f"must have three slashes: {scheme}:///{rest[2:]} instead of {target}")
        listed = rest[authority.end() :] if authority else rest
        _check_hosts(listed.split(","), f"{scheme}:{authority[0] if authority else ''}")
        return
    hosts = [part.strip() for part in target.split(",") if part.strip()]
    if not hosts:
        raise ValueError(f"must be host:port, such as 127.0.0.1:{PORT}")
    _check_hosts(hosts)


def _check_hosts(hosts: list[str], prefix: str = "") -> None:
    """Check several ``host:port``. A suggestion starts with `prefix`."""
    text = ",".join(hosts)
    meant = re.findall(r"[^;,\s\"']+", text)
    if meant and meant != hosts and all(map(HOST_AND_PORT.fullmatch, meant)):
        raise ValueError(f"must be host:port: {prefix}{','.join(meant)} instead of {prefix}{text}")
    for host in hosts:
        _check_host(host, prefix)


def _check_host(host: str, prefix: str = "") -> None:
    """Check one ``host:port``. A suggestion starts with `prefix`."""
    match = HOST_AND_PORT.fullmatch(host)
    if match is not None and 0 < int(match[2]) < 2**16:
        return
    if match is not None:
        raise ValueError(f"{host!r}: the port must be a number from 1 to 65535")
    scheme, mark, rest = host.partition("://")
    plain = (rest if mark else host).strip("\"'").split("/")[0].rpartition("@")[2]
    if plain.isdecimal() or re.fullmatch(r":\d+", plain):
        right = f"127.0.0.1:{plain.lstrip(':')}"
    elif HOST_AND_PORT.fullmatch(plain):
        right = plain
    elif (bare := re.fullmatch(r"(.+):(\d{4,5})", plain)) and _is_ipv6(bare[1]):
        right = f"[{bare[1]}]:{bare[2]}"  # ::1:8500 is a valid address, but hardly what was meant
    elif _is_ipv6(plain.strip("[]")):
        right = f"[{plain.strip('[]')}]:{PORT}"
    else:
        name = re.split(r"[:;?@\s\[\]]", plain)[0]
        right = f"{name or 'host'}:{PORT}"
    where = "must be the gRPC address, without http:// or grpc:// and without a path" if mark else "must be host:port"
    encrypted = "; see serving_tls for encryption" if scheme in ("https", "grpcs") else ""
    raise ValueError(f"{where}: {prefix}{right} instead of {prefix}{host}{encrypted}")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
