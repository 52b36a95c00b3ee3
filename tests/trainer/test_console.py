"""Progress without a terminal: plain lines."""

import time

import pytest

from trainer import console


def test_lines_say_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with console.progress("Computing features", 100) as advance:
        for _ in range(100):
            clock[0] += 1.5
            advance(note="note")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Computing features: 4/100 0:02:24 left; note"
    assert lines[-1] == "Computing features: 100/100; note"
    assert len(lines) < 30
