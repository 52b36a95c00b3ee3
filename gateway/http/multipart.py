"""Parse a multipart form while it arrives.

A form over its limits is refused when it passes them, not when it is complete, and nothing is written to disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import BadRequest, UploadTooLarge
from gateway.http.upload import Upload

SINGLE_FIELDS = ("dog_image", "image", "file")
"""Accepted field names of a form with one image."""

BATCH_FIELDS = (*SINGLE_FIELDS, "dog_images", "images", "files")
"""Accepted field names of a form with several images. A form with one image may use them too."""

INDEX = re.compile(r"(?:\[\d*\]|\.\d+)$")
"""Suffix that PHP, axios and Dropzone add to the field name of each file: ``images[]``, ``images[0]``, ``images.0``."""

FORM_OVERHEAD_BYTES = 64 * 2**10
"""Maximum size of everything in a form except the files: boundaries, part headers and small fields."""

FRAMING_BYTES_PER_FILE = 1024
"""Additional allowance for each file of a batch: its boundary and headers."""

MAX_BOUNDARIES = 1024
"""Maximum number of boundaries, and of bytes that look like the start of one, in addition to those of the files."""

SLICE_BYTES = 16 * 2**10
"""Number of bytes to parse between two checks of the framing limit: at most 12 ms of work."""

MAX_PARTS_BESIDE_FILES = 16
"""Maximum number of parts without an image."""

MAX_PARAMETERS = 100
"""Maximum number of semicolons in a part header; normal headers have two or three.

Parsing a thousand blocks the event loop for 0.7 ms, and a form may have many headers."""

MAX_FILENAME_CHARACTERS = 255
"""Maximum length of a file name in an answer."""


class MultipartForm:
    """Parses a form and keeps the files in the fields `BATCH_FIELDS`.

    A file over `max_file_bytes` gets an error in place of its content.

    Raises:
        BadRequest: The boundary is missing or not valid.
    """

    def __init__(self, boundary: bytes, *, max_files: int, max_file_bytes: int) -> None:
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
            raise BadRequest(
                "The Content-Type of the multipart form has no boundary. Leave this header to your HTTP library, which "
                "adds one."
            )
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
        """Parse the next bytes of the body.

        The parser handles everything but file content byte by byte, and also anything in a file that resembles a
        boundary. Without limits on both, a crafted form would block the event loop for seconds.

        Raises:
            BadRequest: The form is malformed, or over a limit.
            UploadTooLarge: It has too many files.
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
                raise BadRequest(
                    "The multipart form is malformed: its boundary is not the one in its Content-Type, or its lines do "
                    "not end in CR and LF."
                ) from error
            self._framing_bytes += len(part) - (self._content_bytes - before)
            if self._framing_bytes > self._max_framing_bytes:
                raise BadRequest(
                    f"The multipart form has more than {self._max_framing_bytes:,} bytes in addition to its files."
                )

    def finish(self) -> list[Upload]:
        """Return the files after the last byte of the body.

        Raises:
            BadRequest: The form is incomplete or has no file.
        """
        if not self._complete:
            raise BadRequest("The multipart form ends before its closing boundary.")
        if not self._uploads:
            others = f"; it has {quoted(self._others[:5])}" if self._others else ""
            raise BadRequest(f"The form has no file named {quoted(BATCH_FIELDS)}{others}.")
        return self._uploads

    def close(self) -> None:
        """Break the reference cycle with the parser, which would keep the files until the next full collection."""
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
        _, options = header_parameters(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if INDEX.sub("", name) not in BATCH_FIELDS:
            self._skip()
            self._others.append(name)
            return
        self._current = Upload(_basename(filename))
        # A browser sends an empty file name and no content if no file was chosen.
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


def header_parameters(header: str) -> tuple[bytes, dict[bytes, bytes]]:
    """Parse a header into its value and its parameters.

    Raises:
        BadRequest: It has more than `MAX_PARAMETERS` parameters.
    """
    if header.count(";") > MAX_PARAMETERS:
        raise BadRequest(f"A header of the upload has more than {MAX_PARAMETERS} parameters.")
    return parse_options_header(header)


def _basename(filename: bytes | None) -> str | None:
    if not filename:
        return None
    text = filename.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(filter(str.isprintable, text))[:MAX_FILENAME_CHARACTERS]


def quoted(names: Iterable[str]) -> str:
    """Names for an error message: ``'a' or 'b'``."""
    return " or ".join(repr(name) for name in names)
