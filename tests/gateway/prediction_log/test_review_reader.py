"""What the reader reads of the log, how often, and what it remembers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.prediction_log.review_index import ReviewIndex
from gateway.prediction_log.review_reader import ReviewReader
from gateway.prediction_log.segments import OPEN
from gateway.prediction_log.storage import Folder

NAME = "20260301T1200{:02}-host-1-0001.jsonl"
DAY = "2026-03-01"


class Counting(ReviewIndex):
    """Counts the lines that it receives."""

    lines = 0

    def add(self, lines: list[bytes]) -> int:  # type: ignore[override]
        self.lines += len(lines)
        return 0


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(autouse=True)
def always_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists all days each time."""
    monkeypatch.setattr("gateway.prediction_log.review_reader.FULL_SECONDS", 0.0)


def write(storage: Folder, name: str, lines: int) -> Path:
    path = storage.spool / name
    path.write_bytes(b"{}\n" * lines)
    return path


def remembered(reader: ReviewReader) -> int:
    """Number of segments that take memory."""
    return len(reader._spooled) + sum(map(len, reader._stored.values()))


def test_each_line_is_read_once_wherever_its_segment_is(storage: Folder) -> None:
    index = Counting()
    reader = ReviewReader(storage, index)
    path = write(storage, NAME.format(0) + OPEN, 3)
    reader.read_spool()
    write(storage, NAME.format(0) + OPEN, 5)
    reader.read_spool()
    assert index.lines == 5
    closed = path.rename(path.with_suffix(""))
    write(storage, closed.name, 6)
    shutil.copy(closed, storage.spool / "copy")
    storage.put(closed, f"records/{DAY}/{closed.name}")
    (storage.spool / "copy").rename(closed)  # object storage has the file before the spool loses it
    for _ in range(2):
        reader.read_storage()
        reader.read_spool()
    assert index.lines == 6


def test_segments_that_are_gone_are_forgotten(storage: Folder) -> None:
    reader = ReviewReader(storage, Counting())
    for second in range(20):
        write(storage, NAME.format(second), 1)
    reader.read_spool()
    for second in range(10):
        name = NAME.format(second)
        storage.put(storage.spool / name, f"records/{DAY}/{name}")
    for second in range(10, 20):
        (storage.spool / NAME.format(second)).unlink()
    reader.read_storage()
    assert remembered(reader) == 10
    storage.delete(f"records/{DAY}/{NAME.format(0)}")
    reader.read_storage()
    assert remembered(reader) == 9
    shutil.rmtree(storage.spool / DAY)
    reader.read_storage()
    assert remembered(reader) == 0
