"""Serve files that do not change while the process runs: compressed once, at addresses with a digest."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import brotli
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.http.compressed import accepted_encodings

IMMUTABLE = "public, max-age=31536000, immutable"
"""For addresses with a digest of the content: browsers need not revalidate."""

REVALIDATE = "no-cache"
"""For all others: browsers revalidate each time, and get 304 if nothing has changed."""

DIGEST_CHARACTERS: Final = 12
BROTLI_QUALITY, GZIP_LEVEL = 9, 9
MIN_BYTES: Final = 200
"""Size below which files are not compressed."""

TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}


@dataclass
class StaticFile:
    """A file with its compressed variants."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """Strong entity tag of the uncompressed content, without quotes."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    @cached_property
    def variants(self) -> dict[str, bytes]:
        """The compressed content by encoding, the best one first."""
        if len(self.content) < MIN_BYTES or self.media_type == "image/png":
            return {}
        return {
            "br": brotli.compress(self.content, mode=brotli.MODE_TEXT, quality=BROTLI_QUALITY),
            "gzip": gzip.compress(self.content, GZIP_LEVEL, mtime=0),
        }

    async def response(self, request_headers: Headers, cache_control: str) -> Response:
        """The file in an accepted encoding, or 304 if the browser has it.

        The first call compresses it in a thread: 10 ms for the page's largest file, 0.2 s for Swagger UI.
        """
        headers = {"Cache-Control": cache_control, "Vary": "Accept-Encoding"}
        accepted = accepted_encodings(request_headers)
        variants = await asyncio.to_thread(lambda: self.variants) if "variants" not in self.__dict__ else self.variants
        encoding = next((one for one in variants if one in accepted), None)
        headers["ETag"] = f'"{self.etag}-{encoding}"' if encoding else f'"{self.etag}"'
        etags = [one.strip().removeprefix("W/") for one in request_headers.get("if-none-match", "").split(",")]
        if headers["ETag"] in etags:
            return Response(status_code=304, headers=headers)
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(variants[encoding] if encoding else self.content, media_type=self.media_type, headers=headers)


class StaticFolder:
    """An ASGI app that serves the files of a folder, or only those with the `names`, at `name` and at `DIGEST/name`.

    Subfolders and files of other types than `TYPES` are ignored.
    """

    def __init__(self, folder: Path, names: tuple[str, ...] = ()) -> None:
        file_names = names or tuple(sorted(path.name for path in folder.iterdir() if path.suffix in TYPES))
        self.files = {name: StaticFile((folder / name).read_bytes(), TYPES[Path(name).suffix]) for name in file_names}
        everything = hashlib.sha256()
        for name, file in self.files.items():
            everything.update(f"{name}\0{file.etag}\0".encode())
        self.digest = everything.hexdigest()[:DIGEST_CHARACTERS]

    def page(self, name: str, address: str) -> StaticFile:
        """An HTML file of the folder, with the digest after `address` in `href` and `src`."""
        html = self.files[name].content.decode()
        for attribute in ("href", "src"):
            html = html.replace(f'{attribute}="{address}/', f'{attribute}="{address}/{self.digest}/')
        return StaticFile(html.encode(), self.files[name].media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file. Raises HTTPException if it does not exist (404) or the method is not GET or HEAD (405)."""
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        first, _, rest = name.partition("/")
        immutable = first == self.digest and bool(rest)
        file = self.files.get(rest if immutable else name)
        if file is None:
            raise HTTPException(404)
        response = await file.response(request.headers, IMMUTABLE if immutable else REVALIDATE)
        await response(scope, receive, send)
