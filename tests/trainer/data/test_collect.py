"""Photos with feedback become a folder of photos by class."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from testing.photos import photo
from trainer.cli import main
from trainer.data.collect import Folder, collect, folder_name
from trainer.data.data_set import open_folder
from trainer.errors import TrainerError


class Log:
    """A prediction log that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lines: list[str] = []
        self._seconds = 0

    def _append(self, record: Mapping[str, object]) -> None:
        self._seconds += 1
        self._lines.append(json.dumps({"time": f"2026-01-31T12:00:{self._seconds:02}Z", **record}) + "\n")
        folder = self.root / "records" / "2026-01-31"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "20260131T120000-host-1-0001.jsonl").write_text("".join(self._lines))

    def add_answer(
        self, digest: str, label: str | None, *, kept: bool = True, index: int = 0, request: str | None = None
    ) -> None:
        record: dict[str, object] = {
            "kind": "prediction",
            "request_id": f"request-{request or digest}",
            "index": index,
            "digest": digest,
        }
        self._append({**record, "model": "dogs", "version": 1, "label": label})
        if kept:
            file = self.root / "photos" / "2026-01-31" / f"{digest}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photo("red", encoding="JPEG"))

    def add_feedback(
        self, verdict: str, label: str | None = None, *, digest: str | None = None, of: str | None = None
    ) -> None:
        self._append(
            {"kind": "feedback", "request_id": of and f"request-{of}", "index": 0, "digest": digest}
            | {"verdict": verdict, "label": label}
        )


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def collected(log: Log, out: Path, *options: str) -> list[str]:
    assert main(["collect", str(log.root), str(out), *options]) == 0
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))


def test_confirmed_and_corrected_photos_are_collected_and_others_are_not(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    log.add_answer("bb", "Boxer")
    log.add_answer("cc", "Pug")
    log.add_answer("dd", "Pug")
    log.add_answer("ee", None)
    log.add_feedback("right", of="aa")
    log.add_feedback("wrong", "Pug", digest="bb")
    log.add_feedback("none", digest="cc")
    log.add_feedback("right", of="ee")  # that it is unknown
    assert collected(log, tmp_path / "out") == ["Boxer/aa.jpg", "Pug/bb.jpg"]
    with (tmp_path / "out" / "collected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["predicted"], row["verdict"]) for row in rows] == [
        ("Boxer/aa.jpg", "Boxer", "right"),
        ("Pug/bb.jpg", "Boxer", "wrong"),
    ]
    assert rows[0]["request_id"] == "request-aa"


def test_the_last_feedback_counts_and_a_second_run_moves_and_removes(log: Log, tmp_path: Path) -> None:
    for digest in ("aa", "bb"):
        log.add_answer(digest, "Boxer")
        log.add_feedback("right", of=digest)
    out = tmp_path / "out"
    assert collected(log, out) == ["Boxer/aa.jpg", "Boxer/bb.jpg"]
    log.add_feedback("wrong", "Pug", of="aa")
    log.add_feedback("none", of="bb")
    assert collected(log, out) == ["Pug/aa.jpg"]


def test_withdrawn_feedback_does_not_count_but_what_others_said_does(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer", request="one")
    log.add_answer("aa", "Boxer", request="two")
    log.add_answer("bb", "Boxer")
    log.add_feedback("right", of="one")
    log.add_feedback("wrong", "Pug", of="two")
    log.add_feedback("right", of="bb")
    out = tmp_path / "out"
    assert collected(log, out) == ["Boxer/bb.jpg", "Pug/aa.jpg"]
    log.add_feedback("withdrawn", of="two")
    log.add_feedback("withdrawn", of="bb")
    assert collected(log, out) == ["Boxer/aa.jpg"]
    log.add_feedback("right", of="bb")
    assert collected(log, out) == ["Boxer/aa.jpg", "Boxer/bb.jpg"]


def test_right_means_the_answer_to_that_request_and_not_a_later_one(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer", request="one")
    log.add_answer("aa", "Pug", request="two")
    log.add_feedback("right", of="one")
    assert collected(log, tmp_path / "out") == ["Boxer/aa.jpg"]


def test_what_was_collected_stays_when_the_log_has_deleted_its_photo(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    log.add_feedback("right", of="aa")
    out = tmp_path / "out"
    collected(log, out)
    (log.root / "photos" / "2026-01-31" / "aa.jpg").unlink()
    assert collected(log, out) == ["Boxer/aa.jpg"]


def test_what_was_collected_stays_when_the_log_has_deleted_its_records(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    log.add_feedback("right", of="aa")
    out = tmp_path / "out"
    collected(log, out)
    newer = Log(tmp_path / "newer")
    newer.add_answer("bb", "Pug")
    newer.add_feedback("right", of="bb")
    assert collected(newer, out) == ["Boxer/aa.jpg", "Pug/bb.jpg"]
    assert collected(newer, out, "--model", "cats") == ["Boxer/aa.jpg", "Pug/bb.jpg"]
    with (out / "collected.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["Boxer/aa.jpg", "Pug/bb.jpg"]


def test_photos_that_were_not_kept_are_counted(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.add_answer("aa", "Boxer", kept=False)
    log.add_feedback("right", of="aa")
    assert collected(log, tmp_path / "out") == []
    assert "1 photos with feedback are not in the log" in capsys.readouterr().out


def test_the_last_line_of_an_open_segment_may_be_cut_off(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    log.add_feedback("right", of="aa")
    file = next((log.root / "records").rglob("*.jsonl"))
    file.rename(log.root / "records" / "20260131T120000-host-1-0002.jsonl.open")
    with (log.root / "records" / "20260131T120000-host-1-0002.jsonl.open").open("a") as segment:
        segment.write('{"kind": "feedb')
    assert collected(log, tmp_path / "out") == ["Boxer/aa.jpg"]


def test_a_damaged_line_is_left_out_and_counted(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.add_answer("aa", "Boxer")
    log.add_feedback("right", of="aa")
    with next((log.root / "records").rglob("*.jsonl")).open("a") as segment:
        segment.write("\0\0\0\n")
    assert collected(log, tmp_path / "out") == ["Boxer/aa.jpg"]
    assert "1 lines of the log are not JSON" in capsys.readouterr().out


def test_a_model_selects_its_photos(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    log.add_feedback("right", of="aa")
    assert collected(log, tmp_path / "out", "--model", "cats") == []
    assert collected(log, tmp_path / "out", "--model", "dogs") == ["Boxer/aa.jpg"]


def test_what_is_collected_can_be_trained_on(log: Log, tmp_path: Path) -> None:
    for number in range(12):
        log.add_answer(f"{number:02}", "Boxer" if number % 2 else "Saint Bernard / mix")
        log.add_feedback("right", of=f"{number:02}")
    collected(log, tmp_path / "out")
    data = open_folder(
        *(tmp_path / "out", tmp_path / "cache"), valid_share=0.2, test_share=0.0, seed=1, workers=1, duplicates="off"
    )
    assert data.labels == ("Boxer", "Saint Bernard _ mix")


@pytest.mark.parametrize(
    ("label", "name"), [("Boxer", "Boxer"), ("a/b", "a_b"), ("..", "_"), (" . ", "_"), ("C:\\x", "C__x")]
)
def test_a_label_cannot_lead_out_of_the_folder(label: str, name: str) -> None:
    assert folder_name(label) == name


def test_a_folder_that_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "is not a prediction log" in capsys.readouterr().err


def test_segments_that_are_closed_and_moved_meanwhile_are_read_once(tmp_path: Path) -> None:
    day = tmp_path / "records" / "2026-01-31"
    day.mkdir(parents=True)
    names = [f"20260131T120000-host-1-{number:04}.jsonl" for number in range(3)]
    for name in names:
        (day.parent / f"{name}.open").write_text(name)

    class Moving(Folder):
        def _segments(self) -> list[Path]:
            """Lists the segments. The gateway closes one of those that are open, and moves one that is closed."""
            listed = super()._segments()
            for closed in sorted(day.parent.glob("*.jsonl"))[:1]:
                closed.rename(day / closed.name)
            for opened in sorted(day.parent.glob("*.open"))[:1]:
                opened.rename(opened.with_suffix(""))
            return listed

    assert sorted(Moving(tmp_path).records()) == [name.encode() for name in names]


def test_a_segment_that_is_listed_and_does_not_exist_is_an_error(log: Log, tmp_path: Path) -> None:
    log.add_answer("aa", "Boxer")
    (log.root / "records" / "20260131T120000-host-1-0002.jsonl").symlink_to("/nowhere")
    with pytest.raises(TrainerError, match=r"0002.jsonl cannot be read"):
        collect(Folder(log.root), tmp_path / "out")


def test_a_photo_that_the_log_deletes_meanwhile_is_counted_as_not_kept(log: Log, tmp_path: Path) -> None:
    class Deleting(Folder):
        def photos(self) -> dict[str, str]:
            kept = super().photos()
            (log.root / kept["aa"]).unlink()
            return kept

    for digest in ("aa", "bb"):
        log.add_answer(digest, "Boxer")
        log.add_feedback("right", of=digest)
    rows, missing = collect(Deleting(log.root), tmp_path / "out")
    assert ([row.file for row in rows], missing) == (["Boxer/bb.jpg"], 1)
