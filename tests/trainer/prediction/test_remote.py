"""`predict` through a gateway that is busy, strict or fails."""

import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until
from tests.trainer.prediction.conftest import Start
from tests.trainer.prediction.predictions import check_colours, rows, size, trainer
from trainer.options import KEY_VARIABLE
from trainer.prediction import remote


def test_a_busy_gateway_is_asked_again_after_the_time_that_it_names(
    photos: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []
    seconds = remote._seconds
    monkeypatch.setattr(remote, "_seconds", lambda text: pauses.append(seconds(text)) or pauses[-1])  # type: ignore[func-returns-value]
    monkeypatch.setattr(remote, "BATCH_SIZE", 64)  # two requests at the same time are too many, however long they take
    output = tmp_path / "answers.jsonl"
    url = start(image_rate_limit="64/second", max_batch_images=64)
    for number in range(100, 180):
        (photos / f"{number}.png").write_bytes(photo("red"))

    def was_paused() -> bool:
        """Whether a run, which completes its file in any case, sent two requests within a second and was put off."""
        output.unlink(missing_ok=True)
        status, _, error = trainer("predict", "colours", photos, "--output", output, "--url", url)
        assert status == 0, error
        assert len(rows(output)) == 142
        return bool(pauses)

    until(was_paused)
    assert all(pause is not None and 1 <= pause <= 2 for pause in pauses)


def test_failures_of_the_model_server_are_waited_for_and_not_written(
    photos: Path, tmp_path: Path, start: Start, server: ColourServer
) -> None:
    url = start()
    arguments = ("predict", "colours", photos, "--url", url, "--output")
    server.refusal = (grpc.StatusCode.UNAVAILABLE, "starting")
    output = tmp_path / "answers.jsonl"
    status, _, error = trainer(*arguments, output, "--patience", "0")
    assert status == 1
    assert "gave up after 0 s; run the same command again to resume" in error
    assert not size(output)
    server.refusal = None
    assert trainer(*arguments, output)[0] == 0
    check_colours(output)


def test_patience_also_ends_with_a_photo_that_is_to_be_sent_again_and_again(
    photos: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = remote._record
    monkeypatch.setattr(remote, "_record", lambda name, *rest: None if "003" in name else record(name, *rest))
    output = tmp_path / "answers.jsonl"
    status, _, error = trainer("predict", "colours", photos, "--output", output, "--url", start(), "--patience", "1")
    assert status == 1
    assert re.search(r"has no answer for .*003\.png; gave up", error)


def test_keys_and_versions_are_passed_on(
    photos: Path, tmp_path: Path, start: Start, server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.models["colours"][2] = ColourModel(labels=("blue", "green", "red"), threshold=0.5)
    server.labels["colours", "stable"] = 1
    url = start(api_keys="5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8")  # of "password"
    arguments = ("predict", "--url", url, "--output")
    status, _, error = trainer(*arguments, tmp_path / "1.jsonl", "colours", photos)
    assert status == 1
    assert "refuses the request: " in error
    assert "key" in error
    monkeypatch.setenv(KEY_VARIABLE, "password")
    for model, version in (("colours", 2), ("colours/1", 1), ("colours/stable", 1)):
        output = tmp_path / f"{model.replace('/', '-')}.jsonl"
        status, _, error = trainer(*arguments, output, model, photos)
        assert status == 0, error
        check_colours(output)
        assert {row["version"] for row in rows(output) if row["version"]} == {version}
    status, _, error = trainer(*arguments, tmp_path / "2.jsonl", "nothing", photos)
    assert status == 1
    assert "refuses the request: " in error


def test_a_gateway_that_takes_less_gets_less(photos: Path, tmp_path: Path, start: Start) -> None:
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (200, 200, 3), np.uint8)).save(photos / "huge.png")
    url = start(max_batch_images=3, max_upload_bytes=50_000, max_batch_upload_bytes=60_000)
    output = tmp_path / "answers.jsonl"
    status, out, error = trainer("predict", "colours", photos, "--output", output, "--url", url)
    assert status == 0, error
    assert "63 photos: 60 named, 1 unknown, 2 failed" in out
    [huge] = [row for row in rows(output) if row["file"].endswith("huge.png")]
    assert huge["error"]["code"] == "upload_too_large"
    output.write_text("".join(line + "\n" for line in output.read_text().splitlines() if "huge.png" not in line))
    check_colours(output)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert remote._seconds(None) is None
    assert remote._seconds("2") == 2
    assert remote._seconds("-1") == 0
    assert remote._seconds("soon") is None
    assert remote._seconds("nan") is None
    assert remote._seconds("1e9") == remote.MAX_NAMED_PAUSE
    assert remote._seconds("Sat, 28 Nov 2020 12:00:00 GMT") == 0
