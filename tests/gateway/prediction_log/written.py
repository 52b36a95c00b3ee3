"""What a prediction log has written."""

from __future__ import annotations

from pathlib import Path

from gateway.prediction_log.records import RECORD, Feedback, Prediction, Shadow
from gateway.prediction_log.segments import OPEN
from testing.polling import until


def lines(log: Path) -> list[str]:
    """All complete lines of the log, of open segments too."""
    segments: dict[Path, str] = {}

    def are_read() -> bool:
        """Whether all segments were read before one of them was closed or moved."""
        nonlocal segments
        paths = _segments(log)
        try:
            segments = {path: path.read_bytes().decode() for path in paths}
        except FileNotFoundError:
            return False
        return _segments(log) == paths

    until(are_read)
    names = [path.name.removesuffix(OPEN) for path in segments]
    assert len(set(names)) == len(names), f"a segment was left behind: {names}"
    complete: list[str] = []
    for path, content in segments.items():
        *whole, rest = content.split("\n")
        assert not rest or path.suffix == OPEN, f"{path} was closed in the middle of a line"
        complete += whole
    return complete


def _segments(log: Path) -> list[Path]:
    return sorted(path for path in (log / "records").rglob("*.jsonl*") if path.suffix in (".jsonl", OPEN))


def records(log: Path, number: int) -> list[Prediction | Feedback | Shadow]:
    """The records of the log, once there are so many."""
    until(lambda: len(lines(log)) >= number)
    return [RECORD.validate_json(line) for line in lines(log)]


def photos(log: Path) -> list[Path]:
    return sorted((log / "photos").rglob("*.jpg"))
