"""Soak test: ``python -m testing.soak --minutes 10`` runs mixed load and watches the memory of the gateway.

It starts two model servers and a gateway on loopback. Honest callers check every answer. Other callers upload corrupt
files and decompression bombs, hang up, and upload slowly, while versions are published and deleted. With ``--hostile``,
a file that is expensive to decode is sent every second. The exit status is 1 if an answer was wrong or undocumented, or
if the memory of gateway and workers grew in the second half by more than 10 % and 20 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from testing.faults.hostile import bombs, corrupt_files, hang_ups, hostile_files, posted, slow_uploads
from testing.faults.load import Load
from testing.faults.stage import Stage

HONEST = frozenset({200, 503})
"""503 is possible right after the only version of a server was deleted."""
OTHERS = frozenset({0, 200, 400, 408, 415, 422, 429, 504})
SAMPLE_SECONDS = 5.0

HOSTILE_ADDRESS = "127.0.0.2" if sys.platform == "linux" else None
"""A second address on loopback, because callers are identified by address. Only Linux has one."""


async def trouble(stage: Stage, end: float, statuses: Counter[int]) -> None:
    """Send all other kinds of load in turns, until the end."""
    corrupt, large = await asyncio.to_thread(lambda: (list(corrupt_files(100)), bombs()[:2]))
    while time.monotonic() < end:
        for work in (
            posted(stage.url, corrupt, 4),
            hang_ups(stage.url, 40),
            posted(stage.url, large, 2),
            slow_uploads(stage.url, 10),
        ):
            statuses.update(await work)
            await asyncio.sleep(1)


async def hostile(stage: Stage, end: float, statuses: Counter[int]) -> None:
    """Send a hostile file every second from another address, until the end."""
    files, started = itertools.cycle(await asyncio.to_thread(hostile_files)), time.monotonic()
    async with asyncio.TaskGroup() as group:

        async def send(file: bytes) -> None:
            statuses.update(await posted(stage.url, [file], 1, HOSTILE_ADDRESS))

        for number in itertools.count(1):
            group.create_task(send(next(files)))
            due = started + number
            if due > end:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def versions(stage: Stage, end: float) -> None:
    """Publish and delete version 2 repeatedly, until the end."""
    while time.monotonic() < end:
        await asyncio.to_thread(stage.publish, 2)
        await asyncio.sleep(10)
        await asyncio.to_thread(stage.delete, 2)
        await asyncio.sleep(10)


async def soak(stage: Stage, minutes: float, console: Console, *, with_hostile_files: bool = False) -> int:
    """Run the soak test.

    Args:
        stage: The running model servers and gateway.
        minutes: Duration.
        console: Console for messages.
        with_hostile_files: Also send a hostile file every second.

    Returns:
        The exit status.
    """
    end = time.monotonic() + minutes * 60
    other_statuses: Counter[int] = Counter()
    statuses: Counter[int] = Counter()
    wrong, worst, memory = 0, 0.0, list[float]()
    load = Load(stage.url, callers=8)
    async with load.running(), asyncio.TaskGroup() as group:
        group.create_task(trouble(stage, end, other_statuses))
        group.create_task(versions(stage, end))
        if with_hostile_files:
            group.create_task(hostile(stage, end, other_statuses))
        while time.monotonic() < end:
            await asyncio.sleep(SAMPLE_SECONDS)
            memory.append(stage.gateway_memory_mb())
            statuses += load.statuses()
            wrong += load.wrong()
            worst = max([worst, *(answer.seconds for answer in load.answers)])
            load.answers.clear()
            if len(memory) % 6 == 0:
                console.print(f"{len(memory) * SAMPLE_SECONDS:5.0f} s  {memory[-1]:4.0f} MB  {dict(statuses)}")
    quarter = len(memory) // 4
    middle, last = (sorted(part)[len(part) // 2] for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    console.print(f"honest callers: {dict(statuses)}, {wrong} wrong, worst {worst:.2f} s")
    console.print(f"others: {dict(other_statuses)}")
    console.print(
        f"memory: {memory[0]:.0f} MB at first, {max(memory):.0f} at most, median {middle:.0f} in the second quarter "
        f"and {last:.0f} in the last"
    )
    grown = last > middle * 1.1 and last > middle + 20
    undocumented = {*statuses} - HONEST | {*other_statuses} - OTHERS
    if undocumented:
        console.print(f"not documented: {undocumented}", style="red")
    return 1 if wrong or grown or undocumented else 0


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--engine", choices=["tensorflow", "openvino"], default="tensorflow", help="of model servers")
    parser.add_argument("--hostile", action="store_true", help="send a hostile file every second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), options.engine, request_timeout_seconds=5)
        with stage.running():
            console = Console(width=160)
            return asyncio.run(soak(stage, options.minutes, console, with_hostile_files=options.hostile))


if __name__ == "__main__":
    sys.exit(main())
