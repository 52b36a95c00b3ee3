"""`predict`: whole runs, in this process and through a gateway; killed, resumed, refused."""

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testing import ROOT
from testing.colour_server import ColourServer
from testing.polling import DEADLINE_SECONDS, until
from tests.trainer.prediction.conftest import COLOURS, Start
from tests.trainer.prediction.predictions import check_colours, rows, size, trainer

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_folder_is_classified_by_a_model_in_this_process(photos: Path, tmp_path: Path, colour_model: Path) -> None:
    version = shutil.copytree(colour_model, tmp_path / "models" / "dog_breed" / "1")
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

    complete_bytes = output.read_bytes()
    output.write_bytes(complete_bytes[:3000])
    status, out, error = trainer("predict", version, photos, "--output", output, "--top-k", "2")
    assert status == 0, error
    assert "62 photos: 60 named, 1 unknown, 1 failed" in out
    assert output.read_bytes() == complete_bytes

    shutil.copytree(colour_model, version.with_name("2"))
    status, _, error = trainer("predict", version.parent, photos, "--output", output, "--top-k", "2")
    assert status == 1
    assert "is of dog_breed version 1, not of dog_breed version 2. Only the same command can be resumed" in error
    assert output.read_bytes() == complete_bytes


def test_a_gateway_gives_the_answers_as_csv_too(photos: Path, tmp_path: Path, start: Start) -> None:
    output = tmp_path / "answers.csv"
    status, out, error = trainer("predict", "colours", photos, "--output", output, "--url", start())
    assert status == 0, error
    assert "62 photos: 60 named, 1 unknown, 1 failed" in out
    with output.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == sorted(path.name for path in photos.iterdir())
    assert [row["label"] for row in rows[:3]] == list(COLOURS)
    assert (rows[0]["label_1"], rows[0]["model"], rows[0]["version"]) == ("red", "colours", "1")
    assert rows[0]["score_1"] == rows[0]["confidence"]
    [failed] = [row for row in rows if row["state"] == "failed"]
    assert (failed["error_code"], failed["label"]) == ("invalid_image", "")


def test_a_run_that_is_killed_again_and_again_writes_the_same_file(
    photos: Path, tmp_path: Path, start: Start, server: ColourServer
) -> None:
    url = start(max_batch_images=2)  # small requests: there is much to interrupt
    command = [sys.executable, "-m", "breed", "predict", "colours", str(photos), "--url", url, "--output"]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    subprocess.run([*command, str(whole)], cwd=ROOT, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    check_colours(whole)

    def kill(after: float) -> bool:
        """Starts a run, and kills it a moment after it has written something; returns whether it had not ended yet."""
        written = size(output)
        server.stalled.set()
        with subprocess.Popen([*command, str(output)], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            until(lambda: server.waiting or process.poll() is not None, "the run waits for the model")
            server.stalled.clear()
            until(lambda: size(output) > written or process.poll() is not None, "a row is written")
            time.sleep(after)
            process.kill()
            status = process.wait(DEADLINE_SECONDS)
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def kill_twice() -> bool:
        """Whether two runs in a row were killed before they ended."""
        output.unlink(missing_ok=True)
        return kill(0.0) and kill(0.02)

    until(kill_twice, "two runs are killed before they end")
    assert whole.read_bytes().startswith(output.read_bytes()[:-1].rpartition(b"\n")[0])
    subprocess.run([*command, str(output)], cwd=ROOT, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    assert output.read_bytes() == whole.read_bytes()


def test_shards_share_the_photos(photos: Path, tmp_path: Path, start: Start) -> None:
    url = start()
    names: list[str] = []
    for shard in ("1/2", "2/2"):
        output = tmp_path / f"{shard[0]}.jsonl"
        arguments = ("predict", "colours", photos, "--output", output, "--url", url, "--shard", shard)
        status, _, error = trainer(*arguments)
        assert status == 0, error
        names += [row["file"] for row in rows(output)]
    assert sorted(names) == sorted(map(str, photos.iterdir()))


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
