"""The prediction log in object storage: a real S3 client and a server that speaks S3."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fsspec import AbstractFileSystem

from gateway.prediction_log.records import RECORD, Prediction
from gateway.prediction_log.storage import ObjectStorage
from testing.photos import photo
from testing.polling import until

Start = Callable[..., httpx.Client]


@pytest.fixture
def bucket(s3: AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a folder in an empty bucket."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    s3.makedirs("photos-of-dogs", exist_ok=True)
    return "s3://photos-of-dogs/log"


def content(bucket: str, name: str) -> bytes:
    import fsspec

    with fsspec.open(f"{bucket}/{name}") as file:
        data: bytes = file.read()
    return data


def test_records_and_photos_end_up_in_the_bucket(start: Start, bucket: str) -> None:
    gateway = start(prediction_log=bucket, prediction_log_photos="all", prediction_log_segment_seconds=1)
    assert gateway.post("/api/v1/models/colours/predict", content=photo("red")).status_code == 200
    storage = ObjectStorage(bucket)
    [(segment, _)] = until(lambda: list(storage.files("records")))
    [(kept, _)] = until(lambda: list(storage.files("photos")))
    record = RECORD.validate_json(content(bucket, segment))
    assert isinstance(record, Prediction)
    assert kept == f"photos/{record.time:%Y-%m-%d}/{record.digest}.jpg"
    assert content(bucket, kept).startswith(b"\xff\xd8")
    storage.delete(kept)
    storage.delete(kept)
    assert not list(storage.files("photos"))


def test_photos_in_a_bucket_are_reviewed_and_deleted(
    start: Start, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.prediction_log.review.REFRESH_SECONDS", 0.0)
    keys, headers = f"ann:{hashlib.sha256(b'key').hexdigest()}", {"X-API-Key": "key"}
    gateway = start(prediction_log=bucket, prediction_log_photos="all", review_keys=keys)
    content = photo("red")
    assert gateway.post("/api/v1/models/colours/predict", content=content).status_code == 200
    photos = "/api/v1/review/photos"
    [one] = until(lambda: gateway.get(photos, headers=headers).json()["photos"])
    assert one["digest"] == hashlib.sha256(content).hexdigest()
    image = gateway.get(f"{photos}/{one['digest']}/image", headers=headers)
    assert image.content.startswith(b"\xff\xd8")
    decision = {"decision": "deleted"}
    assert gateway.post(f"{photos}/{one['digest']}/decision", json=decision, headers=headers).status_code == 200
    assert not list(ObjectStorage(bucket).files("photos"))
    assert gateway.get(photos, headers=headers).json()["photos"] == []


def test_a_bucket_that_does_not_exist_is_reported_and_fails_no_request(
    start: Start, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(prediction_log=bucket.replace("dogs", "nobody"), prediction_log_segment_seconds=1)
    assert gateway.post("/api/v1/models/colours/predict", content=photo("red")).status_code == 200
    until(lambda: any("s3://photos-of-nobody" in one and "bucket does not exist" in one for one in caplog.messages))


def test_a_bucket_that_is_gone_fails_no_request(
    start: Start, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        s3fs.S3FileSystem.clear_instance_cache()
        gateway = start(prediction_log=bucket, prediction_log_segment_seconds=1)
        assert gateway.post("/api/v1/models/colours/predict", content=photo("red")).status_code == 200
        [waiting] = until(lambda: list(tmp_path.rglob("*.jsonl")))
        assert RECORD.validate_json(waiting.read_text().splitlines()[0])
        assert gateway.post("/api/v1/models/colours/predict", content=photo("red")).status_code == 200
