"""What the gateway keeps of answers and feedback, seen from outside: over HTTP and in the files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from PIL import Image

from gateway.app import check_parts
from gateway.prediction_log.prediction_log import PredictionLog
from gateway.prediction_log.records import RECORD, Feedback, Prediction, Shadow
from gateway.prediction_log.storage import Folder
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from tests.gateway.observability.test_metrics import scraped, total

Start = Callable[..., httpx.Client]

PREDICT = "/api/v1/models/colours/predict"


def lines(log: Path) -> list[str]:
    """All lines of the log, of open segments too."""
    return [line for path in sorted((log / "records").rglob("*.jsonl*")) for line in path.read_text().splitlines()]


def records(log: Path, number: int) -> list[Prediction | Feedback | Shadow]:
    """The records of the log, once there are so many."""
    until(lambda: len(lines(log)) >= number)
    return [RECORD.validate_json(line) for line in lines(log)]


def photos(log: Path) -> list[Path]:
    return sorted((log / "photos").rglob("*.jpg"))


def upright_jpeg() -> bytes:
    """A photo of 60 x 80 pixels as it is seen, with a camera's EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera of somebody"
    encoded = io.BytesIO()
    Image.new("RGB", (800, 600), (250, 5, 5)).save(encoded, "JPEG", exif=exif)
    return encoded.getvalue()


def test_a_record_says_what_was_answered(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    content = photo("red")
    answer = gateway.post(PREDICT, content=content, headers={"X-Routing-Key": "user-7"}, params={"top_k": 1})
    [record] = records(tmp_path, 1)
    assert isinstance(record, Prediction)
    assert record.request_id == answer.headers["X-Request-ID"]
    assert (record.model, record.version, record.label) == ("colours", 1, "red")
    assert record.scores[0].score == answer.json()["predictions"][0]["score"]
    assert len(record.scores) > len(answer.json()["predictions"]) == 1
    assert record.digest == hashlib.sha256(content).hexdigest()
    assert record.bytes == len(content)
    assert record.routing_key == "user-7"
    assert record.photo is None
    assert not photos(tmp_path)


def test_each_photo_of_a_batch_has_a_record_and_one_that_failed_has_none(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    files = [("images", ("a.png", photo("red"))), ("images", ("b.png", b"no image")), ("images", ("c", photo("blue")))]
    gateway.post("/api/v1/models/colours/predict_batch", files=files)
    found = records(tmp_path, 2)
    assert [(one.index, one.label) for one in found if isinstance(one, Prediction)] == [(0, "red"), (2, "blue")]


def test_the_answers_of_a_shadow_are_recorded_for_the_request_that_was_copied(
    start: Start, model_server: ColourServer, tmp_path: Path
) -> None:
    model_server.models["colours"] = {1: ColourModel(), 2: ColourModel(threshold=1)}
    gateway = start(
        prediction_log=str(tmp_path),
        traffic_split={"colours": {"1": 1}},
        shadows={"colours": {"percent": 100, "version": 2}},
    )
    files = [("images", ("a", photo("red"))), ("images", ("b", b"no image")), ("images", ("c", photo("blue")))]
    answer = gateway.post("/api/v1/models/colours/predict_batch", files=files)
    found = [one for one in records(tmp_path, 4) if isinstance(one, Shadow)]
    assert [(one.request_id, one.index, one.version, one.label) for one in found] == [
        (answer.headers["X-Request-ID"], 0, 2, None),
        (answer.headers["X-Request-ID"], 2, 2, None),
    ]


def test_neither_file_names_nor_addresses_nor_keys_are_recorded(start: Start, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"secret-key-1").hexdigest()
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="all", api_keys=f"alice:{digest}")
    headers = {"X-API-Key": "secret-key-1"}
    gateway.post(PREDICT, files={"image": ("private-name.jpg", upright_jpeg())}, headers=headers)
    [record] = records(tmp_path, 1)
    assert isinstance(record, Prediction)
    assert record.key == "alice"
    until(lambda: photos(tmp_path))
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (b"secret-key-1", digest.encode(), b"private-name", b"127.0.0.1", b"camera of somebody"):
        assert secret not in everything


def test_a_kept_photo_is_upright_small_and_without_metadata(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="all", prediction_log_photo_side=80)
    assert gateway.get("/api/v1/models/colours").json()["keeps_photos"] is True
    content = upright_jpeg()
    gateway.post(PREDICT, content=content)
    [kept] = until(lambda: photos(tmp_path))
    [record] = records(tmp_path, 1)
    assert isinstance(record, Prediction)
    assert kept.stem == record.digest == hashlib.sha256(content).hexdigest()
    assert kept.parent.name == f"{record.time:%Y-%m-%d}"
    assert record.photo == "all"
    with Image.open(kept) as image:
        assert image.size == (60, 80)
        assert not image.getexif()


def test_only_uncertain_photos_are_kept_if_the_setting_says_so(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="uncertain", prediction_log_margin=0.2)
    sure = gateway.post(PREDICT, content=photo("red")).json()["predictions"]
    grey = Image.new("RGB", (40, 30), (128, 128, 128))
    encoded = io.BytesIO()
    grey.save(encoded, "PNG")
    unsure = gateway.post(PREDICT, content=encoded.getvalue()).json()["predictions"]
    assert sure[0]["score"] - sure[1]["score"] > 0.2 > unsure[0]["score"] - unsure[1]["score"]
    found = records(tmp_path, 2)
    assert [one.photo for one in found if isinstance(one, Prediction)] == [None, "uncertain"]
    [kept] = until(lambda: photos(tmp_path))
    assert kept.stem == hashlib.sha256(encoded.getvalue()).hexdigest()


def test_without_the_setting_nothing_is_kept_and_feedback_is_refused(gateway: httpx.Client, tmp_path: Path) -> None:
    gateway.post(PREDICT, content=photo("red"))
    answer = gateway.post("/api/v1/feedback", json={"request_id": "a", "model": "colours", "verdict": "right"})
    assert answer.status_code == 404
    assert "prediction_log" in answer.json()["detail"]
    model = gateway.get("/api/v1/models/colours").json()
    assert (model["feedback"], model["keeps_photos"]) == (False, False)
    assert not list(tmp_path.iterdir())


def test_feedback_is_recorded_and_a_new_label_is_marked(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    for said in (
        {"request_id": "one", "verdict": "right", "version": 7},
        {"request_id": "two", "index": 3, "verdict": "wrong", "label": "blue", "version": 1},
        {"digest": "0" * 64, "verdict": "wrong", "label": "purple"},
        {"request_id": "four", "verdict": "none"},
        {"request_id": "one", "verdict": "withdrawn"},
    ):
        answer = gateway.post("/api/v1/feedback", json=said)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"status": "recorded", "new_label": said.get("label") == "purple"}
    found = records(tmp_path, 5)
    assert [(one.verdict, one.label, one.new_label) for one in found if isinstance(one, Feedback)] == [
        ("right", None, False),
        ("wrong", "blue", False),
        ("wrong", "purple", True),
        ("none", None, False),
        ("withdrawn", None, False),
    ]
    assert gateway.get("/api/v1/models/colours").json()["feedback"] is True
    counted = gateway.get("/metrics").text
    assert 'gateway_feedback_total{model="colours",verdict="wrong",version="1"} 1.0' in counted
    assert 'gateway_feedback_total{model="colours",verdict="wrong",version=""} 1.0' in counted
    assert 'gateway_feedback_total{model="colours",verdict="right",version=""} 1.0' in counted  # 7 is not loaded


def test_made_up_models_do_not_become_metrics(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    for number in range(3):
        said = {"request_id": "a", "verdict": "right", "model": f"made-up-{number}"}
        assert gateway.post("/api/v1/feedback", json=said).status_code == 200
    metrics = gateway.get("/metrics").text
    assert 'gateway_feedback_total{model="other",verdict="right",version=""} 3.0' in metrics
    assert "made-up" not in metrics


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": "right"},
        {"request_id": "a", "digest": "0" * 64, "verdict": "right"},
        {"request_id": "a", "verdict": "wrong"},
        {"request_id": "a", "verdict": "right", "label": "red"},
        {"request_id": "a", "verdict": "maybe"},
        {"request_id": "a", "verdict": "withdrawn", "label": "red"},
        {"request_id": "a\nb", "verdict": "right"},
        {"digest": "xyz", "verdict": "right"},
        {"request_id": "a", "verdict": "wrong", "label": "re\nd"},
        {"request_id": "a", "verdict": "right", "filename": "a.jpg"},
    ],
)
def test_feedback_that_makes_no_sense_is_refused(start: Start, tmp_path: Path, said: dict[str, object]) -> None:
    gateway = start(prediction_log=str(tmp_path))
    answer = gateway.post("/api/v1/feedback", json=said)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_parameter"


def test_feedback_is_small(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path))
    answer = gateway.post("/api/v1/feedback", content=b'{"request_id": "' + b"a" * 20_000 + b'"}')
    assert answer.status_code == 413
    assert answer.json()["code"] == "upload_too_large"


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
        waiting = sum(path.stat().st_size for path in (tmp_path / "records").iterdir())
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


def test_a_photo_in_json_is_kept_too(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="all")
    body = {"inputs": base64.b64encode(photo("red")).decode()}
    assert gateway.post(PREDICT, json=body).status_code == 200
    [kept] = until(lambda: photos(tmp_path))
    with Image.open(kept) as image:
        assert image.size == (40, 30)


def test_only_the_owner_may_read_the_log(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path / "log"), prediction_log_photos="all")
    gateway.post(PREDICT, content=photo("red"))
    [kept] = until(lambda: photos(tmp_path / "log"))
    for folder in (tmp_path / "log" / "records", kept.parent, kept.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_client_that_hangs_up_during_its_feedback_is_no_error(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(prediction_log=str(tmp_path))
    with socket.create_connection((gateway.base_url.host, gateway.base_url.port)) as client:
        client.sendall(b"POST /api/v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until(lambda: "gateway_requests_in_flight 2.0" in gateway.get("/metrics").text)
    until(lambda: "gateway_requests_in_flight 1.0" in gateway.get("/metrics").text)
    assert 'status="500"' not in gateway.get("/metrics").text
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_feedback_is_taken_while_the_model_server_is_away(
    start: Start, tmp_path: Path, model_server: ColourServer
) -> None:
    gateway = start(prediction_log=str(tmp_path))
    model_server.refusal = (grpc.StatusCode.UNAVAILABLE, "away")
    answer = gateway.post("/api/v1/feedback", json={"request_id": "a", "verdict": "wrong", "label": "blue"})
    assert answer.status_code == 200, answer.text


def test_a_log_that_cannot_be_used_ends_the_program_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address, words in ((str(tmp_path / "file" / "log"), "cannot be used"), ("nonsense://bucket", "cannot be used")):
        with pytest.raises(SystemExit, match=words):
            check_parts(Settings(prediction_log=address))


def test_closed_segments_move_to_the_folder_of_their_day(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path), prediction_log_segment_seconds=1)
    gateway.post(PREDICT, content=photo("red"))
    [segment] = until(lambda: list((tmp_path / "records").glob("*/*.jsonl")))
    assert segment.name.startswith(segment.parent.name.replace("-", ""))
    assert [json.loads(line)["kind"] for line in segment.read_text().splitlines()] == ["prediction"]


def test_ending_the_gateway_closes_the_segment(model_server: ColourServer, tmp_path: Path) -> None:
    settings = Settings(serving_target=model_server.address, default_model="colours", prediction_log=str(tmp_path))
    with running_gateway(settings) as gateway:
        gateway.post(PREDICT, content=photo("red"))
        records(tmp_path, 1)
        assert not list(tmp_path.glob("records/*/*.jsonl"))
    assert len(list(tmp_path.glob("records/*/*.jsonl"))) == 1
