"""`predict`: whole runs, in this process and through a gateway; killed, resumed, refused."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testing import ROOT
from testing.colour_model import publish_colours
from testing.colour_server import ColourServer
from testing.polling import until
from tests.trainer.prediction.conftest import COLOURS, Start
from tests.trainer.prediction.predictions import check_colours, rows, size, trainer

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


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
