"""What a prediction log has written."""

from __future__ import annotations

from pathlib import Path

from gateway.prediction_log.records import RECORD, Feedback, Prediction, Shadow
from testing.polling import until


def lines(log: Path) -> list[str]:
    """All lines of the log, of open segments too."""
    return [line for path in sorted((log / "records").rglob("*.jsonl*")) for line in path.read_text().splitlines()]


def records(log: Path, number: int) -> list[Prediction | Feedback | Shadow]:
    """The records of the log, once there are so many."""
    until(lambda: len(lines(log)) >= number)
    return [RECORD.validate_json(line) for line in lines(log)]


def photos(log: Path) -> list[Path]:
    return sorted((log / "photos").rglob("*.jpg"))
