"""The faults, and which answers callers may get during each of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from testing.faults.grpc_load import CANCELLED, GrpcLoad
from testing.faults.hostile import GRPC_WORK, apart
from testing.faults.load import BREED, LABELLED, Load
from testing.faults.stage import Stage
from testing.polling import until_async


@dataclass
class Scene:
    """A fault in progress.

    Attributes:
        stage: Servers and gateway.
        load: The honest callers.
        began: Start of the fault, on the monotonic clock.
        healed: End of the fault.
        others: Statuses of callers that are not honest.
    """

    stage: Stage
    load: Load
    began: float = field(default_factory=time.monotonic)
    healed: float = 0.0
    others: Counter[int] = field(default_factory=Counter)

    async def hostile(self, what: str) -> None:
        """Run hostile callers."""

        def begin() -> None:
            self.began = time.monotonic()

        over_grpc = isinstance(self.load, GrpcLoad) and what in GRPC_WORK
        self.others = await apart(what, f"grpc://{self.stage.grpc_address}" if over_grpc else self.stage.url, begin)

    async def aside(self, work: Callable[..., object], *arguments: object) -> None:
        """Run blocking work in a thread, while the callers continue."""
        await asyncio.to_thread(work, *arguments)

    async def version(self, number: int) -> None:
        """Wait until only this version answers."""

        def holds() -> bool:
            latest = [answer.version for answer in self.load.answers[-64:] if answer.status == 200]
            return len(latest) > 32 and set(latest) == {number}

        await until_async(holds, f"version {number} answers alone")


async def killed(scene: Scene) -> None:
    server = scene.stage.servers[0]
    await scene.aside(server.kill)
    await asyncio.sleep(2)
    await scene.aside(scene.stage.restart, server)


async def restarted(scene: Scene) -> None:
    server = scene.stage.servers[1]
    await scene.aside(server.stop)
    await scene.aside(scene.stage.restart, server)


async def both_down(scene: Scene) -> None:
    for server in scene.stage.servers:
        server.kill()
    await asyncio.sleep(1)
    await scene.aside(scene.stage.restart, *scene.stage.servers)


async def stalled(scene: Scene) -> None:
    server = scene.stage.servers[0]
    server.send(signal.SIGSTOP)
    await asyncio.sleep(6)
    server.send(signal.SIGCONT)


async def new_version(scene: Scene) -> None:
    await scene.aside(scene.stage.publish, 2)
    await scene.version(2)


async def broken_version(scene: Scene) -> None:
    await scene.aside(scene.stage.publish_broken, 3)
    await asyncio.sleep(3)


async def version_deleted(scene: Scene) -> None:
    await scene.aside(scene.stage.delete, 3)
    await scene.aside(scene.stage.delete, 2)
    await scene.version(1)


async def label_moved(scene: Scene) -> None:
    await scene.aside(scene.stage.move_label, 2)
    await scene.version(2)


def hostile(what: str) -> Callable[[Scene], Awaitable[None]]:
    return lambda scene: scene.hostile(what)


@dataclass(frozen=True)
class Row:
    """A fault, and the statuses that honest and other callers may get meanwhile."""

    name: str
    happen: Callable[[Scene], Awaitable[None]]
    honest: frozenset[int] = frozenset({200})
    others: frozenset[int] = frozenset()
    path: str = BREED


BAD_FILES = frozenset({200, 400, 415, 422, 429})
"""A file with a few wrong bits may still be a photo."""

BURST = frozenset({200, 429, 504})

ROWS = (
    Row("server killed", killed),
    Row("server restarted", restarted),
    Row("both servers down", both_down, frozenset({200, 503})),
    Row("server stalled", stalled, frozenset({200, 503})),
    Row("new version", new_version),
    Row("broken version", broken_version),
    Row("version deleted", version_deleted, frozenset({200, 503})),
    Row("label moved", label_moved, path=LABELLED),
    Row(
        "callers hang up", hostile("hang-ups"), others=frozenset({0, 200})
    ),  # 200: the answer was ready before they disconnected
    Row("200 slow uploads", hostile("slow uploads"), others=frozenset({408})),
    Row("1,000 corrupt files", hostile("corrupt files"), others=BAD_FILES),
    Row("30 uploads of 100 MB", hostile("huge uploads"), others=frozenset({413})),
    Row("decompression bombs", hostile("bombs"), frozenset({200, 504}), BAD_FILES | {504}),
    # 408: a busy machine gives some of the burst no time to send their photos.
    Row("burst of 10 x capacity", hostile("burst"), BURST, BURST | {408}),
)


@dataclass(frozen=True)
class Outcome:
    """The result of a row.

    Attributes:
        memory_mb: Of the gateway: before, at most, and after.
        recovery_seconds: From the end of the fault to the last answer that was not 200.
        faults: What must not be; empty: all is well.
    """

    row: Row
    statuses: Counter[int]
    others: Counter[int]
    worst_seconds: float
    medians: tuple[float, float]
    memory_mb: tuple[float, float, float]
    recovery_seconds: float
    faults: tuple[str, ...]


async def play(row: Row, stage: Stage, *, over_grpc: bool = False) -> Outcome:
    """Run one fault under load, of callers over HTTP or gRPC. Every step has its own time limit."""
    load = GrpcLoad(stage.grpc_address) if over_grpc else Load(stage.url, row.path)
    async with load.running():
        await until_async(lambda: load.statuses()[200] > 600, "600 photos are answered")
        before = stage.gateway_memory_mb()
        quiet = [answer.seconds for answer in load.answers[len(load.answers) // 2 :]]
        scene, peak = Scene(stage, load), before

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, stage.gateway_memory_mb())
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        await row.happen(scene)
        scene.healed = time.monotonic()
        during = [answer.seconds for answer in load.since(scene.began)]

        def recovered() -> bool:
            late = [answer.status for answer in load.since(time.monotonic() - 2)]
            return len(late) > 50 and set(late) == {200}

        faults = []
        try:
            await until_async(recovered, "every answer is 200 again", 30)
        except TimeoutError as error:
            faults.append(str(error))
        watching.cancel()
    failures = [answer.at for answer in load.since(scene.healed) if answer.status != 200]
    refused = {CANCELLED} if over_grpc and 429 in row.honest else set()
    faults += [f"honest callers saw {status}" for status in load.statuses() if status not in row.honest | refused]
    faults += [f"others saw {status}" for status in scene.others if status not in row.others | refused]
    faults += [f"{load.wrong()} wrong answers"] if load.wrong() else []
    return Outcome(
        row=row,
        statuses=load.statuses(),
        others=scene.others,
        worst_seconds=max(answer.seconds for answer in load.answers),
        medians=(sorted(quiet)[len(quiet) // 2], sorted(during)[len(during) // 2]),
        memory_mb=(before, peak, stage.gateway_memory_mb()),
        recovery_seconds=max(failures, default=scene.healed) - scene.healed,
        faults=tuple(faults),
    )
