"""Log lines for people or for machines, each with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from gateway.backend import request_id
from gateway.settings import Settings


def configure(settings: Settings) -> None:
    """Send every log record of this process to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    # What no formatter here writes, and what costs a walk up the stack, is not looked up for each record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to leave out file, line and function
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class ConsoleFormatter(logging.Formatter):
    """One line for people: time, level, logger, message, request id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with the id of the request in whose context it is written."""
        line = super().formatMessage(record)
        return f"{line} [{request_id.get()}]" if request_id.get() else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, and the record's own `fields`."""

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
        return json.dumps(entry, ensure_ascii=False, default=str)
