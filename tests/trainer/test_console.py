"""Progress: a bar on a terminal, plain lines elsewhere."""

import io
import time

import pytest
from rich.console import Console

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


def test_a_bar_on_a_terminal_says_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, get_time=lambda: clock[0])
    monkeypatch.setattr(console, "Console", lambda **_: terminal)
    with console.progress("Computing features", 100) as advance:
        for _ in range(10):
            clock[0] += 60.0
            advance(note="note")
    text = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "10/100" in text
    assert "1:30:00" in text  # 90 steps of a minute
