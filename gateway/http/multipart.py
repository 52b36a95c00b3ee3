"""Request bodies to image files: a multipart form, or the image itself.

The form is parsed as it streams in, so that a body over the limit is refused when the limit is passed and not when it
is complete, and so that nothing is ever written to disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from gateway.errors import BadRequest, GatewayError, UnsupportedRequest, UploadTooLarge

SINGLE_FIELDS = ("dog_image", "image", "file")
"""Accepted field names of a form with one image."""

BATCH_FIELDS = (*SINGLE_FIELDS, "dog_images", "images", "files")
"""Names under which each of many images may be sent, and one as well."""

INDEX = re.compile(r"\[\d*\]$")
"""What PHP, axios and Dropzone put behind the name of each of several files: ``images[]``, ``images[0]``."""

RAW_TYPES = ("application/octet-stream", "binary/octet-stream", "application/json")
"""Media types of a body that is one image, beside image/*."""

FORM_OVERHEAD_BYTES = 64 * 2**10
"""Bytes that a form may add to its files: boundaries, part headers and small fields."""

FRAMING_BYTES_PER_FILE = 1024
"""Bytes that each file of a batch may add to that: its boundary and headers."""

MAX_BOUNDARIES = 1024
"""Boundaries of a form, and what looks like the beginning of one, beside those of its files."""

SLICE_BYTES = 16 * 2**10
"""Bytes that are parsed at once: at most 12 ms of framing before it is found to be too much."""

MAX_PARTS_BESIDE_FILES = 16
"""Parts of other names that are skipped before the form is taken for nonsense."""

MAX_PARAMETERS = 100
"""Semicolons in a header of a form, which has two or three.

A thousand take the event loop 0.7 ms, and a form may have many headers."""

MAX_FILENAME_CHARACTERS = 255
"""Maximum length of a file name in an answer."""


@dataclass(slots=True)
class Upload:
    """An uploaded file, or the body of a request.

    Attributes:
        filename: File name that the client sent, without folders; None if it sent none.
        data: The bytes, in the pieces in which they arrived. A worker process joins them.
        size: Number of bytes.
        error: Set if the file is over its limit; `data` is then empty.
    """

    filename: str | None = None
    data: list[bytes] = field(default_factory=list)
    size: int = 0
    error: GatewayError | None = None

    def append(self, piece: bytes) -> None:
        """Add the next bytes."""
        self.size += len(piece)
        self.data.append(piece)

    @property
    def content(self) -> list[bytes] | GatewayError:
        """The pieces, or the error."""
        return self.data if self.error is None else self.error


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """The one image of a request, from a form or as the raw body.

    Raises:
        BadRequest: The form is broken, or holds no image or several.
        UnsupportedRequest: The body is neither form nor image.
        UploadTooLarge: More than `max_bytes`.
        UploadTimeout, Overloaded: As `gateway.http.middleware.body_limits` raises them.
    """
    media_type, boundary = _content_type(request)
    if media_type == "multipart/form-data":
        with closing(_Form(boundary, BATCH_FIELDS, max_files=1, max_file_bytes=max_bytes)) as form:
            await _receive(request, form.feed, max_bytes + FORM_OVERHEAD_BYTES, max_bytes)
            [upload] = form.finish()
        if upload.error is not None:
            raise upload.error
        return upload
    if media_type and not media_type.startswith("image/") and media_type not in RAW_TYPES:
        raise UnsupportedRequest(
            f"A body of type {media_type[:80]!r} is not accepted. Send a multipart form with one file named "
            f"{_listed(SINGLE_FIELDS)}, or the image itself as image/* or application/octet-stream, or JSON such as "
            '{"inputs": "<the image in base64>"}.'
        )
    upload = Upload()
    await _receive(request, upload.append, max_bytes, max_bytes)
    if not upload.size:
        raise BadRequest("The body is empty. Send a multipart form with one file, or the image itself.")
    return upload


async def read_uploads(request: Request, *, max_files: int, max_file_bytes: int, max_bytes: int) -> list[Upload]:
    """The images of a batch request, in the order of the form; a file over its limit carries an error.

    Raises:
        BadRequest: The form is broken or holds no image.
        UnsupportedRequest: The body is not a form.
        UploadTooLarge: More than `max_files` files or more than `max_bytes` in all.
        UploadTimeout, Overloaded: As `gateway.http.middleware.body_limits` raises them.
    """
    media_type, boundary = _content_type(request)
    if media_type != "multipart/form-data":
        raise UnsupportedRequest("Send a batch as a multipart form with one file for each image.")
    with closing(_Form(boundary, BATCH_FIELDS, max_files=max_files, max_file_bytes=max_file_bytes)) as form:
        await _receive(request, form.feed, max_bytes, max_bytes)
        return form.finish()


async def read_body(request: Request, *, max_bytes: int) -> Upload:
    """The whole body, of any type, still compressed where it is; see `compression`.

    Raises:
        UploadTooLarge: More than `max_bytes`.
    """
    upload = Upload()
    await _receive(request, upload.append, max_bytes, max_bytes)
    return upload


def compression(request: Request, max_bytes: int) -> dict[str, object]:
    """Arguments for a job of `gateway.workers.jobs` that inflates a body that is compressed; none for one that is not.

    Raises:
        UnsupportedRequest: It is compressed in a way that is not taken.
    """
    encoding = _content_encoding(request)
    if not encoding:
        return {}
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedRequest(f"The content encoding {encoding[:40]!r} is not accepted; gzip and deflate are.")
    return {"compressed": True, "max_bytes": max_bytes}


def _content_encoding(request: Request) -> str:
    """How a body is compressed, in lower case; empty where it is not."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def _content_type(request: Request) -> tuple[str, bytes]:
    if encoding := _content_encoding(request):
        raise UnsupportedRequest(
            f"A body with Content-Encoding {encoding[:40]!r} is not accepted: images are compressed already."
        )
    media_type, options = _parameters(request.headers.get("content-type", ""))
    return media_type.decode("latin-1").lower(), options.get(b"boundary", b"")


def _parameters(header: str) -> tuple[bytes, dict[bytes, bytes]]:
    """What a header of a form says, and its parameters.

    Raises:
        BadRequest: It has more of them than any real one.
    """
    if header.count(";") > MAX_PARAMETERS:
        raise BadRequest(f"A header of the upload has more than {MAX_PARAMETERS} parameters.")
    return parse_options_header(header)


async def _receive(request: Request, feed: Callable[[bytes], None], max_body: int, max_said: int) -> None:
    """Hand over the body piece by piece.

    Args:
        request: Whose body.
        feed: Takes each piece.
        max_body: Bytes after which it is too large.
        max_said: The limit that the error message states.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_body:
        raise _too_large(max_said)
    received, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The upload is incomplete.")
        piece = message.get("body", b"")
        received += len(piece)
        if received > max_body:
            raise _too_large(max_said)
        if piece:
            feed(piece)
        more = message.get("more_body", False)


def _too_large(limit: int) -> UploadTooLarge:
    return UploadTooLarge(f"The upload is larger than the limit of {limit:,} bytes.", limit=limit)


class _Form:
    """Takes a multipart form apart as it arrives, keeping the files with accepted names."""

    def __init__(self, boundary: bytes, fields: tuple[str, ...], *, max_files: int, max_file_bytes: int) -> None:
        self._fields = fields
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self._uploads: list[Upload] = []
        self._others: list[str] = []
        self._skipped = 0
        self._boundaries = 0
        self._max_boundaries = MAX_BOUNDARIES + max_files
        self._content_bytes = 0
        self._framing_bytes = 0
        self._max_framing_bytes = FORM_OVERHEAD_BYTES + FRAMING_BYTES_PER_FILE * max_files
        self._current: Upload | None = None
        self._is_counted = False
        self._disposition = bytearray()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._complete = False
        if not boundary:
            raise BadRequest("The Content-Type of the multipart form has no boundary.")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_content,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_end": self._form_ends,
                },
            )
        except FormParserError as error:
            raise BadRequest("The boundary of the multipart form is not valid.") from error

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body.

        The parser goes byte by byte through everything but the content of files, and through what resembles a boundary
        there. Both are bounded, or a form made of nothing else would hold up the event loop for seconds.
        """
        if self._complete:
            return
        self._boundaries += piece.count(b"\r\n--")
        if self._boundaries > self._max_boundaries:
            raise BadRequest("The multipart form has too many boundaries.")
        for start in range(0, len(piece), SLICE_BYTES):
            part = piece[start : start + SLICE_BYTES]
            before = self._content_bytes
            try:
                self._parser.write(part)
            except FormParserError as error:
                raise BadRequest("The multipart form is malformed.") from error
            self._framing_bytes += len(part) - (self._content_bytes - before)
            if self._framing_bytes > self._max_framing_bytes:
                raise BadRequest(f"The multipart form has over {self._max_framing_bytes:,} bytes beside its files.")

    def finish(self) -> list[Upload]:
        """The files, when the body is at its end."""
        if not self._complete:
            raise BadRequest("The multipart form ends before its closing boundary.")
        if not self._uploads:
            found = f"; it has {_listed(tuple(self._others[:5]))}" if self._others else ""
            raise BadRequest(f"The form has no file named {_listed(self._fields)}{found}.")
        return self._uploads

    def close(self) -> None:
        """Let go of the parser, which refers to this form's methods.

        In that cycle the files would stay until the next full collection.
        """
        del self._parser

    def _part_begins(self) -> None:
        self._current = None
        self._disposition.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_content(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition[:] = self._header_value
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        _, options = _parameters(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if INDEX.sub("", name) not in self._fields:
            self._skip()
            self._others.append(name)
            return
        self._current = Upload(_basename(filename))
        # A browser sends an empty file name and no content for a file input in which nothing was chosen.
        self._is_counted = filename != b""
        if self._is_counted:
            self._count(self._current)
        else:
            self._skip()

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped > MAX_PARTS_BESIDE_FILES:
            raise BadRequest("The form has too many parts that are not images.")

    def _count(self, upload: Upload) -> None:
        if len(self._uploads) == self._max_files:
            if self._max_files == 1:
                raise BadRequest("The form has more than one image. Use the batch endpoint for several images.")
            raise UploadTooLarge(
                f"The form has more than {self._max_files} images, the limit for one request.",
                limit=self._max_files,
            )
        self._uploads.append(upload)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._content_bytes += end - start
        upload = self._current
        if upload is None or upload.error is not None:
            return
        if not self._is_counted and end > start:
            self._is_counted = True
            self._skipped -= 1
            self._count(upload)
        if upload.size + end - start > self._max_file_bytes:
            upload.data.clear()
            upload.size = 0
            upload.error = UploadTooLarge(
                f"The file is larger than the limit of {self._max_file_bytes:,} bytes.",
                limit=self._max_file_bytes,
            )
            return
        upload.append(data[start:end])

    def _form_ends(self) -> None:
        self._complete = True


def _basename(filename: bytes | None) -> str | None:
    if not filename:
        return None
    text = filename.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text[:MAX_FILENAME_CHARACTERS]


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)
