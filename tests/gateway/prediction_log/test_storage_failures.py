"""A prediction log whose storage fails, hangs or is full: no request fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.app import check_parts
from gateway.prediction_log.prediction_log import PredictionLog
from gateway.prediction_log.storage import Folder
from gateway.settings import Settings
from testing.photos import photo
from testing.polling import until
from tests.gateway.observability.test_metrics import scraped, total
from tests.gateway.prediction_log.written import photos, records

Start = Callable[..., httpx.Client]


PREDICT = "/api/v1/models/colours/predict"


def test_a_log_that_cannot_be_written_fails_no_request(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path / "log"), prediction_log_photos="all")
    gateway.post(PREDICT, content=photo("red"))
    records(tmp_path / "log", 1)  # in an open segment
    (tmp_path / "log").rename(tmp_path / "gone")
    (tmp_path / "log").write_text("no folder")
    for _ in range(3):
        assert gateway.post(PREDICT, content=photo("red")).status_code == 200

    def dropped() -> bool:
        gateway.post(PREDICT, content=photo("red"))
        return lost(gateway, "storage") > 0

    until(dropped)


def lost(gateway: httpx.Client, reason: str) -> float:
    """How many records and photos were dropped."""
    return total(scraped(gateway), "gateway_prediction_records_dropped_total", reason=reason)


def test_storage_that_hangs_holds_up_no_request_and_what_it_cannot_take_is_dropped(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    put = Folder.put

    def hang(self: Folder, file: Path, name: str) -> None:
        free.wait()
        put(self, file, name)

    monkeypatch.setattr(Folder, "put", hang)
    monkeypatch.setattr("gateway.prediction_log.writer.MAX_SPOOLED_BYTES", 2000)
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="all", prediction_log_segment_bytes=1024)
    try:

        def dropped() -> bool:
            assert gateway.post(PREDICT, content=photo("red")).status_code == 200
            return lost(gateway, "storage") > 0

        until(dropped)
        waiting = sum(size for _, size in Folder(tmp_path).files("records"))
        assert waiting < 100_000, "what waits is bounded"
    finally:
        free.set()
    until(lambda: list((tmp_path / "records").glob("*/*.jsonl")))  # what waited is moved after all
    until(lambda: photos(tmp_path))


def test_records_do_not_wait_for_photos(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PredictionLog, "_keep", never)
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="all")
    for _ in range(20):
        assert gateway.post(PREDICT, content=photo("red")).status_code == 200
    assert len(records(tmp_path, 20)) == 20


def test_only_so_many_answers_wait_to_be_recorded(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PredictionLog, "_record", never)
    gateway = start(prediction_log=str(tmp_path))
    files = [("images", ("a.png", photo("red")))] * 64
    for _ in range(5):
        assert gateway.post("/api/v1/models/colours/predict_batch", files=files).status_code == 200
    dropped = 'gateway_prediction_records_dropped_total{reason="queue"} 63.0'  # one is being recorded
    assert dropped in gateway.get("/metrics").text


def test_a_log_that_cannot_be_used_ends_the_program_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address, words in ((str(tmp_path / "file" / "log"), "cannot be used"), ("nonsense://bucket", "cannot be used")):
        with pytest.raises(SystemExit, match=words):
            check_parts(Settings(prediction_log=address))
