"""Log lines for people and for machines. Each has the ID of its request."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from urllib.parse import quote

from gateway.observability.request_id import request_id
from gateway.observability.request_record import RequestRecord
from gateway.settings import Settings

CONTROL_CHARACTERS = (
    *range(0x20),  # line breaks and terminal escape codes among them
    *range(0x7F, 0xA0),
    0x2028,  # line and paragraph separator
    0x2029,
    *range(0x202A, 0x202F),  # those that change the direction of text
    *range(0x2066, 0x206A),
)
"""Characters that could forge a log line or control a terminal."""

_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in CONTROL_CHARACTERS} | {
    ord("\n"): r"\n",
    ord("\r"): r"\r",
    ord("\t"): r"\t",
}
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in CONTROL_CHARACTERS}

MAX_LOGGED_PATH = 1000
"""Maximum length of a path in the log; callers may send 8 KiB."""


def configure(settings: Settings) -> None:
    """Send every log record of this process to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    # Do not collect what the formatters do not use. Looking up the caller is slow.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to omit file, line and function
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


def log_request(
    logger: logging.Logger, level: int, method: str, path: str, status: int | str, seconds: float, record: RequestRecord
) -> None:
    """Write the log line of a request that has ended."""
    if not logger.isEnabledFor(level):
        return
    # Encode it again, so that a line break in an address does not break a log line.
    quoted_path = quote(path[:MAX_LOGGED_PATH], safe="/:@")
    fields: dict[str, object] = {
        "method": method,
        "path": quoted_path,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
    }
    answered = ""
    if record.model:
        fields |= {"model": record.model, "version": record.version}
        answered = f" by {record.model}/{record.version}"
    values = (method, quoted_path, status, seconds * 1000, answered)
    logger.log(level, "%s %s %s %.1f ms%s", *values, extra={"fields": fields})


class ConsoleFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, request ID. Tracebacks follow on indented lines.

    Control characters are escaped.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with the request ID of the current context."""
        line = super().formatMessage(record).translate(_ESCAPED)
        return f"{line} [{request_id.get()}]" if request_id.get() else line

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        first, *others = super().format(record).split("\n")
        return "\n".join([first, *(f"    {line.translate(_ESCAPED)}" for line in others)])


class JsonFormatter(logging.Formatter):
    """A JSON object per line: time, level, logger, message, request_id, and the `fields` of the record.

    All control characters are escaped, including those that JSON allows in strings.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The JSON text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            entry["request_id"] = request_id.get()
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            entry |= fields
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str).translate(_ESCAPED_IN_JSON)
