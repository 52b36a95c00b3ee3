"""Segments: their size, and what is left of them when a process is killed or the storage fails."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.prediction_log.retention import Retention
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.shipper import ship
from gateway.prediction_log.storage import Folder
from testing.polling import until

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.shipper import ship
from gateway.prediction_log.storage import Folder
storage = Folder(Path(sys.argv[1]))
segments = Segments(storage, 5000, 3600)
number = 0
while True:
    segments.append(b'{"number": %d}\\n' % (number + at) for at in range(7))
    number += 7
    if segments.due():
        segments.close()
        ship(storage)
        print(number, flush=True)
"""


def written(log: Path) -> list[int]:
    return [
        json.loads(line)["number"]
        for path in sorted(log.glob("records/*/*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_a_segment_is_due_at_its_size(tmp_path: Path) -> None:
    segments = Segments(Folder(tmp_path), 100, 3600)
    segments.append([b"1" * 50 + b"\n"])
    assert not segments.due()
    segments.append([b"1" * 50 + b"\n"])
    assert segments.due()
    segments.close()
    assert not segments.due()


def test_a_segment_that_cannot_be_begun_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the folder is gone")

    segments = Segments(Folder(tmp_path), 100, 3600)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="the folder is gone"):
        segments.append([b"1\n"])
    gc.collect()  # would warn of an open file, and warnings are errors


def test_killing_the_process_loses_no_line_that_was_written(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            shipped = [process.stdout.readline() for _ in range(3)]
            process.kill()
        assert all(shipped)
    for torn in (tmp_path / "records").glob("*.open"):
        with torn.open("ab") as segment:
            segment.write(b'{"number": 12')  # as if it had been killed in the middle of a line
    ship(Folder(tmp_path))
    assert not list((tmp_path / "records").glob("*.open"))
    for path in tmp_path.glob("records/*/*.jsonl"):
        numbers = [json.loads(line)["number"] for line in path.read_text().splitlines()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_segment_in_use_is_left_alone(tmp_path: Path) -> None:
    mine = Segments(Folder(tmp_path), 100, 3600)
    mine.append([b"{}\n"])
    ship(Folder(tmp_path))
    assert len(list((tmp_path / "records").glob("*.open"))) == 1
    mine.close()
    ship(Folder(tmp_path))
    assert len(list((tmp_path / "records").glob("*/*.jsonl"))) == 1


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which files cannot grow beyond 64 KB."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        yield tmp_path
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_lines_that_do_not_fit_on_the_disk_leave_no_part_behind(full_disk: Path) -> None:
    segments = Segments(Folder(full_disk), 10**9, 3600)
    line = b'{"number": 1}\n'
    segments.append([line] * 4000)
    for _ in range(2):
        with pytest.raises(OSError, match=r"(?i)large|space"):
            segments.append([line] * 1000)
    segments.append([line])
    segments.close()
    ship(Folder(full_disk))
    assert len(written(full_disk)) == 4001


def test_old_days_go_first_and_then_the_oldest_files_until_the_rest_fits(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    digest = "0" * 64

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
        return path

    for day in ("2020-01-01", "2999-01-01", "2999-01-02", "2999-01-03"):
        write(f"records/{day}/a.jsonl")
        write(f"photos/{day}/{digest}.jpg")
    others = [
        write("records/20200101T000000-open.jsonl.open"),
        write("photos/2019-holiday/a.jpg"),
        write("photos/2020-01-01/beach.jpg"),
        write("records/2020-01-01/notes.txt"),
    ]
    assert Retention(storage, 30, 0).delete_old() == 2
    assert Retention(storage, 30, 450).delete_old() == 2
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    own = {f"records/2999-01-0{day}/a.jsonl" for day in (2, 3)} | {
        f"photos/2999-01-0{day}/{digest}.jpg" for day in (2, 3)
    }
    assert left == own | {path.relative_to(tmp_path).as_posix() for path in others}
    assert Retention(storage, 0, 0).delete_old() == 0


def test_retention_lists_a_day_that_is_over_only_once_and_corrects_itself_before_it_deletes(tmp_path: Path) -> None:
    class Counting(Folder):
        listed: ClassVar[list[str]] = []

        def files(self, folder: str) -> Iterator[tuple[str, int]]:
            self.listed.append(folder)
            return super().files(folder)

    storage = Counting(tmp_path)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for day in ("2020-01-01", "2020-01-02", today):
        for name in ("a", "b"):
            path = tmp_path / "records" / day / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 100)
    retention = Retention(storage, 0, 600)
    assert retention.delete_old() == 0
    assert storage.listed == [f"records/{day}" for day in ("2020-01-01", "2020-01-02", today)]
    storage.listed.clear()
    assert retention.delete_old() == 0
    assert storage.listed == [f"records/{today}"]
    # Another gateway deletes the oldest day, and today grows by as much: nothing is over.
    for path in (tmp_path / "records" / "2020-01-01").iterdir():
        path.unlink()
    (tmp_path / "records" / today / "c.jsonl").write_bytes(b"x" * 150)
    assert retention.delete_old() == 0
    (tmp_path / "records" / today / "d.jsonl").write_bytes(b"x" * 200)
    assert retention.delete_old() == 2
    assert not list((tmp_path / "records" / "2020-01-02").iterdir())


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each begins segments while the other adopts and ships those without a lock."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]

    def segments_of(process: subprocess.Popen[bytes]) -> list[Path]:
        return list(tmp_path.glob(f"records/*/*-{process.pid}-*.jsonl"))

    try:
        until(lambda: all(len(segments_of(process)) > 5 for process in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    ship(Folder(tmp_path))
    for process in processes:
        lines = [line for path in segments_of(process) for line in path.read_text().splitlines()]
        assert sorted(json.loads(line)["number"] for line in lines) == list(range(len(lines)))


def test_a_photo_that_is_deleted_before_it_is_moved_holds_up_no_other(tmp_path: Path) -> None:
    class Deleting(Folder):
        def put(self, file: Path, name: str) -> None:
            if digests[0] in name:
                file.unlink()
            super().put(file, name)

    storage, digests = Deleting(tmp_path), ("0" * 64, "1" * 64)
    for digest in digests:
        Segments(storage, 100, 3600).add_photo("2026-03-01", digest, b"photo")
    ship(storage)
    assert [path.stem for path in tmp_path.rglob("*.jpg")] == [digests[1]]


def test_a_photo_that_is_deleted_while_it_is_uploaded_does_not_stay(tmp_path: Path) -> None:
    class Uploading(Folder):
        """Copies a file and then deletes it, as object storage does. In between, a reviewer deletes it."""

        def put(self, file: Path, name: str) -> None:
            target = tmp_path / name
            target.parent.mkdir(parents=True)
            shutil.copy(file, target)
            file.unlink()
            file.unlink()

    storage = Uploading(tmp_path)
    Segments(storage, 100, 3600).add_photo("2026-03-01", "0" * 64, b"photo")
    ship(storage)
    assert not list(tmp_path.rglob("*.jpg"))
