"""`predict`: whole runs, in this process and through a gateway; killed, resumed, refused."""

import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from gateway.settings import Settings
from testing import ROOT
from testing.colour_model import publish_colours
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from trainer.cli import main
from trainer.prediction import remote
from trainer.prediction.predict import KEY_VARIABLE

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Start = Callable[..., str]

COLOURS = ("red", "green", "blue")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty photos of three colours, one of something else and one that is damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03}.png").write_bytes(photo(COLOURS[number % 3]))
    (folder / "grey.png").write_bytes(photo("grey"))
    (folder / "cut.jpg").write_bytes(photo("red", encoding="JPEG")[:200])
    return folder


@pytest.fixture
def server() -> Iterator[ColourServer]:
    server = ColourServer(models={"colours": {1: ColourModel(threshold=0.5)}})
    with server.serving():
        yield server


@pytest.fixture
def start(server: ColourServer) -> Iterator[Start]:
    """Starts gateways before that model server; returns their address."""
    with ExitStack() as stack:

        def start_gateway(**settings: object) -> str:
            values: Mapping[str, object] = {
                "serving_target": server.address,
                "default_model": "colours",
                "request_timeout_seconds": 60,
            }
            client = stack.enter_context(running_gateway(Settings.model_validate({**values, **settings})))
            return str(client.base_url)

        yield start_gateway


def trainer(*arguments: str | Path) -> tuple[int, str, str]:
    """Runs the command line; returns exit status, stdout and stderr.

    Without capsys: uvicorn, when a gateway starts in this process, makes absl close what was sys.stderr before.
    """
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
        try:
            status = main([str(one) for one in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), error.getvalue()


def rows(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def check_colours(output: Path) -> None:
    found = {Path(row["file"]).name: row for row in rows(output)}
    assert len(found) == len(rows(output)) == 62
    for number in range(60):
        row = found[f"{number:03}.png"]
        assert (row["state"], row["label"]) == ("named", COLOURS[number % 3])
        assert row["confidence"] == row["predictions"][0]["score"] > 0.8
    assert (found["grey.png"]["state"], found["grey.png"]["label"]) == ("unknown", None)
    assert found["cut.jpg"]["state"] == "failed"
    assert found["cut.jpg"]["error"]["code"] == "invalid_image"
    assert "truncated" in found["cut.jpg"]["error"]["detail"]


def test_a_folder_is_classified_by_a_model_in_this_process(photos: Path, tmp_path: Path) -> None:
    version = publish_colours(tmp_path / "models", threshold=0.5)
    output, sheet = tmp_path / "out" / "answers.jsonl", tmp_path / "out" / "sheet.html"
    status, out, error = trainer(
        "predict", version.parent, photos, "--output", output, "--top-k", "2", "--contact-sheet", sheet
    )
    assert status == 0, error
    assert "62 photos: 60 named, 1 unknown, 1 failed" in out
    assert f"{photos}/cut.jpg: The JPEG image is truncated" in out
    assert re.search(r"Predicting: 62/62 photos, [\d.]+/s", error)
    check_colours(output)
    assert all((row["model"], row["version"]) == ("dog_breed", 1) for row in rows(output) if row["state"] != "failed")
    assert [one["label"] for one in rows(output)[0]["predictions"]] == ["red", "green"]

    page = sheet.read_text()
    assert page.count("<img ") == page.count("src='data:image/jpeg;base64,/9j/") == 61
    sections = re.findall(r"<h2>(.*?)</h2>", page)
    assert [re.sub("<.*?>", "", one) for one in sections] == [
        "Unknown 1 of 1", "blue 20 of 20", "green 20 of 20", "red 20 of 20", "1 files without an answer",
    ]  # fmt: skip

    whole = output.read_bytes()
    output.write_bytes(whole[:3000])
    status, out, error = trainer("predict", version, photos, "--output", output, "--top-k", "2")
    assert status == 0, error
    assert "62 photos: 60 named, 1 unknown, 1 failed" in out
    assert output.read_bytes() == whole

    publish_colours(tmp_path / "models", threshold=0.5)
    status, _, error = trainer("predict", version.parent, photos, "--output", output, "--top-k", "2")
    assert status == 1
    assert "is of dog_breed version 1, not of dog_breed version 2. Only the same command can be resumed" in error
    assert output.read_bytes() == whole


def test_a_gateway_gives_the_answers_as_csv_too(photos: Path, tmp_path: Path, start: Start) -> None:
    output = tmp_path / "answers.csv"
    status, out, error = trainer("predict", "colours", photos, "--output", output, "--url", start())
    assert status == 0, error
    assert "62 photos: 60 named, 1 unknown, 1 failed" in out
    with output.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in found] == sorted(path.name for path in photos.iterdir())
    assert [row["label"] for row in found[:3]] == list(COLOURS)
    assert (found[0]["label_1"], found[0]["model"], found[0]["version"]) == ("red", "colours", "1")
    assert found[0]["score_1"] == found[0]["confidence"]
    [failed] = [row for row in found if row["state"] == "failed"]
    assert (failed["error_code"], failed["label"]) == ("invalid_image", "")


def test_a_run_that_is_killed_again_and_again_writes_the_same_file(
    photos: Path, tmp_path: Path, start: Start, server: ColourServer
) -> None:
    url = start(max_batch_images=2)  # small requests: there is much to interrupt
    command = [sys.executable, "-m", "breed", "predict", "colours", str(photos), "--url", url, "--output"]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    subprocess.run([*command, str(whole)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    check_colours(whole)

    def kill(after: float) -> int:
        """Starts a run, and kills it a moment after it has written something; returns its exit status."""
        written = size(output)
        server.stalled.set()
        silent = subprocess.DEVNULL
        with subprocess.Popen([*command, str(output)], cwd=ROOT, stdout=silent, stderr=silent) as process:
            until(lambda: server.waiting or process.poll() is not None, "the run waits for the model")
            server.stalled.clear()
            until(lambda: size(output) > written or process.poll() is not None, "a row is written")
            time.sleep(after)
            process.kill()
            return process.wait(120)

    statuses = [kill(after) for after in (0.0, 0.02)]
    assert -9 in statuses
    assert whole.read_bytes().startswith(output.read_bytes()[:-1].rpartition(b"\n")[0])
    subprocess.run([*command, str(output)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert output.read_bytes() == whole.read_bytes()


def test_a_busy_gateway_is_asked_again_after_the_time_that_it_names(
    photos: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []
    seconds = remote._seconds
    monkeypatch.setattr(remote, "_seconds", lambda text: pauses.append(seconds(text)) or pauses[-1])  # type: ignore[func-returns-value]
    output = tmp_path / "answers.jsonl"
    url = start(image_rate_limit="64/second", max_batch_images=64)
    for number in range(100, 180):
        (photos / f"{number}.png").write_bytes(photo("red"))
    status, _, error = trainer("predict", "colours", photos, "--output", output, "--url", url)
    assert status == 0, error
    assert len(rows(output)) == 142
    assert pauses
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


def test_shards_share_the_photos(photos: Path, tmp_path: Path, start: Start) -> None:
    url = start()
    found: list[str] = []
    for shard in ("1/2", "2/2"):
        output = tmp_path / f"{shard[0]}.jsonl"
        arguments = ("predict", "colours", photos, "--output", output, "--url", url, "--shard", shard)
        status, _, error = trainer(*arguments)
        assert status == 0, error
        found += [row["file"] for row in rows(output)]
    assert sorted(found) == sorted(map(str, photos.iterdir()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.jpg", "--output", "x.csv"), "there is no file or folder nothing.jpg"),
        ((".", "--output", "x.parquet"), "must end in .jsonl or .csv"),
        ((".", "--output", "x.csv", "--shard", "4/3"), "expected K/N with K from 1 to N"),
        ((".", "--output", "x.csv", "--top-k", "0"), "expected a positive integer"),
        ((".", "--output", "x.csv", "--url", "gateway:8000"), "is not the address of a gateway"),
        ((".", "--output", "x.csv", "--url", "http://127.0.0.1:1", "--patience", "0"), "cannot be reached"),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, error = trainer("predict", "colours", *arguments)
    assert status in (1, 2)
    assert message in error
    assert not list(tmp_path.iterdir())


def test_other_photos_do_not_get_into_the_file_of_a_run(photos: Path, tmp_path: Path, start: Start) -> None:
    url, output = start(), tmp_path / "answers.jsonl"
    assert trainer("predict", "colours", photos, "--output", output, "--url", url)[0] == 0
    (photos / "000.png").unlink()
    status, _, error = trainer("predict", "colours", photos, "--output", output, "--url", url)
    assert status == 1
    assert f"its record 1 is of {photos}/000.png; now it is {photos}/001.png" in error
    status, _, error = trainer("predict", "colours", photos, "--output", output, "--url", url, "--top-k", "1")
    assert status == 1


def test_retry_after_is_a_number_or_a_date() -> None:
    assert remote._seconds(None) is None
    assert remote._seconds("2") == 2
    assert remote._seconds("-1") == 0
    assert remote._seconds("soon") is None
    assert remote._seconds("nan") is None
    assert remote._seconds("1e9") == remote.MAX_NAMED_PAUSE
    assert remote._seconds("Sat, 28 Nov 2020 12:00:00 GMT") == 0
