"""Runs the trainer, and reads the files of predictions that it writes."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tests.trainer.prediction.conftest import COLOURS
from trainer.cli import main


def trainer(*arguments: str | Path) -> tuple[int, str, str]:
    """Runs the command line; returns exit status, stdout and stderr."""
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
    rows_by_name = {Path(row["file"]).name: row for row in rows(output)}
    assert len(rows_by_name) == len(rows(output)) == 62
    for number in range(60):
        row = rows_by_name[f"{number:03}.png"]
        assert (row["state"], row["label"]) == ("named", COLOURS[number % 3])
        assert row["confidence"] == row["predictions"][0]["score"] > 0.8
    assert (rows_by_name["grey.png"]["state"], rows_by_name["grey.png"]["label"]) == ("unknown", None)
    assert rows_by_name["cut.jpg"]["state"] == "failed"
    assert rows_by_name["cut.jpg"]["error"]["code"] == "invalid_image"
    assert "truncated" in rows_by_name["cut.jpg"]["error"]["detail"]
