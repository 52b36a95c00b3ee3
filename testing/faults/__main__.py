"""Fault injection: ``python -m testing.faults`` causes faults under load and prints what callers observe.

It runs two model servers, a gateway and 32 callers on loopback, for a few minutes. The exit status is 1 if callers
observed something that is not allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from testing.faults.load import BREED, CALLERS
from testing.faults.rows import ROWS, Outcome, play
from testing.faults.stage import Stage


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testing.faults", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only the faults whose names hold one of these")
    parser.add_argument("--engine", choices=["tensorflow", "openvino"], default="tensorflow", help="of model servers")
    parser.add_argument("--grpc", action="store_true", help="callers use the gRPC port, where the fault has a meaning")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.words or any(word in row.name for word in options.words)]
    if options.grpc:
        rows = [row for row in rows if row.path == BREED]  # the Open Inference Protocol has no labels of versions
    console, outcomes = Console(width=160), list[Outcome]()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), options.engine, request_timeout_seconds=6)
        with stage.running():
            for number, row in enumerate(rows, 1):
                console.print(f"{number}/{len(rows)} {row.name}", style="dim")
                outcomes.append(asyncio.run(play(row, stage, over_grpc=options.grpc)))
    console.print(
        table(
            outcomes, f"{CALLERS} callers over {'gRPC' if options.grpc else 'HTTP'}, two servers with {options.engine}"
        )
    )
    for outcome in outcomes:
        for fault in outcome.faults:
            console.print(f"{outcome.row.name}: {fault}", style="red")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def table(outcomes: list[Outcome], title: str) -> Table:
    grid = Table(title=title)
    for name in ("fault", "answers", "not 200", "others", "worst", "median before > during", "memory MB", "recovery"):
        grid.add_column(name, justify="left" if name in ("fault", "not 200", "others") else "right")
    for outcome in outcomes:
        failed = Counter({status: count for status, count in outcome.statuses.items() if status != 200})
        grid.add_row(
            outcome.row.name,
            str(outcome.statuses.total()),
            counted(failed) or "none",
            counted(outcome.others),
            f"{outcome.worst_seconds:.2f} s",
            " > ".join(f"{median * 1000:.0f} ms" for median in outcome.medians),
            " / ".join(f"{memory:.0f}" for memory in outcome.memory_mb),
            f"{outcome.recovery_seconds:.1f} s",
        )
    return grid


def counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status or 'gone'}" for status, count in sorted(statuses.items()))


if __name__ == "__main__":
    sys.exit(main())
