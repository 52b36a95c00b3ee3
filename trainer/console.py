"""Output of the trainer: progress bars on a terminal, otherwise plain lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_LINE_SECONDS = 5.0
RATE_SECONDS = 300.0
"""Period from which the time left is estimated, in seconds. It must contain at least two steps."""

Advance = Callable[..., None]
"""`advance(steps=1, note="")` reports completed steps, and a note to show beside the bar."""


def say(text: str) -> None:
    """Prints text to standard output without markup, colours or wrapping."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "", done: int = 0) -> Iterator[Advance]:
    """Shows progress on standard error: a bar on a terminal, otherwise a line every few seconds.

    with progress("reading photos", len(paths)) as advance:
        for path in paths:
            ...
            advance()

    Args:
        description: What is done.
        total: Number of steps; None if it is not known.
        unit: What a step is, in the plural; the rate is shown in it.
        done: Steps that an earlier run has completed.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            *((_RateColumn(unit),) if unit else ()),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, speed_estimate_period=RATE_SECONDS) as bars:
            task = bars.add_task(description, total=total, completed=done, note="")
            yield lambda steps=1, note="": bars.update(task, advance=steps, note=note)
        return
    lines = _PlainLines(description, total, console, unit, done)
    yield lines.advance
    lines.show()


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self._unit}/s")


class _PlainLines:
    def __init__(self, description: str, total: int | None, console: Console, unit: str, done: int) -> None:
        self._description, self._total, self._console, self._unit = description, total, console, unit
        self._done = self._done_before = done
        self._note = ""
        self._started = self._shown_at = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        self._note = note
        is_last = self._total is not None and self._done >= self._total
        if not is_last and time.monotonic() - self._shown_at >= PLAIN_LINE_SECONDS:
            self.show()

    def show(self) -> None:
        self._shown_at = time.monotonic()
        of_total = "" if self._total is None else f"/{self._total}"
        line = f"{self._description}: {self._done}{of_total} {self._rate()}".rstrip()
        if self._note:
            line += f"; {self._note}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _rate(self) -> str:
        """How many steps a second, if steps have a unit, and the time left."""
        rate = (self._done - self._done_before) / max(self._shown_at - self._started, 1e-9)
        text = f"{self._unit}, {rate:.1f}/s " if self._unit else ""
        if self._total is not None and rate and self._done < self._total:
            text += f"{timedelta(seconds=round((self._total - self._done) / rate))} left "
        return text
