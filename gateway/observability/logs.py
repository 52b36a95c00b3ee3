"""Log lines for people or for machines, each with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from gateway.observability.request_id import request_id
from gateway.settings import Settings

CONTROL_CHARACTERS = (
    *range(0x20),  # line breaks and terminal escape codes among them
    *range(0x7F, 0xA0),
    0x2028,  # line and paragraph separator
    0x2029,
    *range(0x202A, 0x202F),  # those that change the direction of text
    *range(0x2066, 0x206A),
)
"""What could forge a log line or change what a terminal shows."""

_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in CONTROL_CHARACTERS} | {
    ord("\n"): r"\n",
    ord("\r"): r"\r",
    ord("\t"): r"\t",
}
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in CONTROL_CHARACTERS}


def configure(settings: Settings) -> None:
    """Send every log record of this process to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    # What no formatter here writes, and what costs a walk up the stack, is not looked up for each record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to leave out file, line and function
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class ConsoleFormatter(logging.Formatter):
    """One line for people: time, level, logger, message, request id; tracebacks follow on indented lines.

    Control characters are escaped, so only this program begins a line or colours it.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with the id of the request in whose context it is written."""
        line = super().formatMessage(record).translate(_ESCAPED)
        return f"{line} [{request_id.get()}]" if request_id.get() else line

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        first, *others = super().format(record).split("\n")
        return "\n".join([first, *(f"    {line.translate(_ESCAPED)}" for line in others)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, and the record's own `fields`.

    Control characters are escaped, also those that JSON allows in a string.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The object as text."""
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
