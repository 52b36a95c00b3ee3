"""Check the head of a request for what RFC 9112 forbids and httptools accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import BadRequest, CodingNotSupported, VersionNotSupported

HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Za-z.:_~%!$&'()*+,;=-]+\])(?::[0-9]*)?")
"""``uri-host [":" port]`` of RFC 9110, section 7.2; it may be empty."""


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check the headers that decide where a request goes and where its body ends. Their names are in lower case.

    Raises:
        VersionNotSupported: Neither HTTP/1.0 nor HTTP/1.1.
        BadRequest: Host or Transfer-Encoding is wrong (RFC 9112, sections 3.2 and 6.1).
        CodingNotSupported: A transfer coding beside ``chunked``.
    """
    if version not in ("1.1", "1.0"):
        raise VersionNotSupported(f"HTTP/{version} is not supported; use HTTP/1.1.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadRequest("A request needs exactly one Host header.")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is not a host name or address with an optional port.")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if not codings or (codings == [b"chunked"] and version == "1.1"):
        return
    *others, last = [coding.strip() for coding in b",".join(codings).split(b",")]
    if version == "1.1" and last == b"chunked" and b"chunked" not in others:
        raise CodingNotSupported("The only Transfer-Encoding accepted is chunked.")
    raise BadRequest("Transfer-Encoding must be exactly chunked, and needs HTTP/1.1.")
