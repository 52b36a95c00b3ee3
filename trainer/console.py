"""Output of the trainer: progress bars on a terminal, otherwise plain lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_SECONDS = 5.0

Advance = Callable[..., None]
"""`advance(steps=1, note="")` reports completed steps, and a note to show beside the bar."""


def say(text: str) -> None:
    """Prints text to standard output without markup, colours or wrapping."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Shows progress on standard error: a bar on a terminal, otherwise a line every few seconds.

    with progress("reading photos", len(paths)) as advance:
        for path in paths:
            ...
            advance()
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(description, total=total, note="")
            yield lambda steps=1, note="": bars.update(task, advance=steps, note=note)
        return
    lines = _PlainLines(description, total, console)
    yield lines.advance
    lines.show()


class _PlainLines:
    def __init__(self, description: str, total: int, console: Console) -> None:
        self._description, self._total, self._console = description, total, console
        self._done, self._note = 0, ""
        self._shown_at = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        self._note = note
        if self._done < self._total and time.monotonic() - self._shown_at >= PLAIN_LINE_SECONDS:
            self.show()

    def show(self) -> None:
        self._shown_at = time.monotonic()
        line = f"{self._description}: {self._done}/{self._total} {self._note}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
