"""What the gateway keeps of answers and feedback, seen from outside: over HTTP and in the files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from gateway.prediction_log.records import Prediction, Shadow
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.prediction_log.written import photos, records

Start = Callable[..., httpx.Client]

PREDICT = "/api/v1/models/colours/predict"


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
    log_records = records(tmp_path, 2)
    assert [(one.index, one.label) for one in log_records if isinstance(one, Prediction)] == [(0, "red"), (2, "blue")]


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
    log_records = [one for one in records(tmp_path, 4) if isinstance(one, Shadow)]
    assert [(one.request_id, one.index, one.version, one.label) for one in log_records] == [
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
    log_records = records(tmp_path, 2)
    assert [one.photo for one in log_records if isinstance(one, Prediction)] == [None, "uncertain"]
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


def test_closed_segments_move_to_the_folder_of_their_day(start: Start, tmp_path: Path) -> None:
    gateway = start(prediction_log=str(tmp_path), prediction_log_segment_seconds=1)
    gateway.post(PREDICT, content=photo("red"))
    [segment] = until(lambda: list((tmp_path / "records").glob("*/*.jsonl")))
    assert segment.name.startswith(segment.parent.name.replace("-", ""))
    assert [json.loads(line)["kind"] for line in segment.read_text().splitlines()] == ["prediction"]


def test_ending_the_gateway_closes_the_segment(
    model_server: ColourServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.prediction_log.prediction_log.CLOSE_SECONDS", DEADLINE_SECONDS)
    settings = Settings(serving_target=model_server.address, default_model="colours", prediction_log=str(tmp_path))
    with running_gateway(settings) as gateway:
        gateway.post(PREDICT, content=photo("red"))
        records(tmp_path, 1)
        assert not list(tmp_path.glob("records/*/*.jsonl"))
    assert len(list(tmp_path.glob("records/*/*.jsonl"))) == 1
