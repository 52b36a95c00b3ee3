"""Runs several programs as one: if one ends or a stop signal arrives, all are stopped in order."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


@dataclass(frozen=True)
class Program:
    """One child process."""

    name: str
    """Name for messages."""
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Variables to add to the environment of this process."""
    directory: Path | None = None
    """Working directory; None for that of this process."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Signal that asks it to stop."""
    stop_seconds: float = 30.0
    """Time limit for stopping, after which it is killed: more than the shutdown timeout of the gateway."""


class ProgramEnded(Exception):
    """A program ended by itself, or did not stop in time.

    Attributes:
        program: The program.
        status: Its exit status; negative if a signal killed it.
        stop_requested: Whether a stop signal came while the other programs were stopped.
    """

    def __init__(self, program: Program, status: int) -> None:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        super().__init__(f"{program.name} {how}")
        self.program = program
        self.status = status
        self.stop_requested = False


async def supervise(programs: Sequence[Program], beside: Callable[[], Awaitable[None]] | None = None) -> None:
    """Starts programs in order, waits for SIGINT, SIGTERM or SIGHUP, and stops them in reverse order.

    Args:
        programs: The programs. Each gets its own session, so that Ctrl-C in a terminal reaches only this process.
        beside: Runs at the same time, for example to wait until they are ready. If it raises, the programs are stopped
            and the error is raised here. It is cancelled when they stop.

    Raises:
        ProgramEnded: A program ended before a signal, with any status, or did not stop in time. All programs have
            stopped by then.
    """
    signalled = asyncio.Event()
    try:
        await _run(programs, beside, signalled)
    except ProgramEnded as ended:
        ended.stop_requested = signalled.is_set()
        raise


async def _run(
    programs: Sequence[Program], beside: Callable[[], Awaitable[None]] | None, signalled: asyncio.Event
) -> None:
    async with AsyncExitStack() as running:
        _on_stop_signal(running, signalled.set)
        watched = [asyncio.ensure_future(signalled.wait())]
        for program in programs:
            process = await _start(program)
            running.push_async_callback(_stop, program, process)
            watched.append(asyncio.ensure_future(_until_it_ends(program, process)))
        if beside:
            watched.append(asyncio.ensure_future(_forever(beside)))
        done, pending = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if not signalled.is_set():
            for task in done:
                task.result()


def _on_stop_signal(running: AsyncExitStack, call: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started by nohup
        loop.add_signal_handler(number, call)
        running.callback(loop.remove_signal_handler, number)


async def _start(program: Program) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program.command,
        env={**os.environ, **program.environment},
        cwd=program.directory,
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    # Also works if this process is killed. Only Linux has it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _until_it_ends(program: Program, process: asyncio.subprocess.Process) -> Never:
    raise ProgramEnded(program, await process.wait())


async def _forever(beside: Callable[[], Awaitable[None]]) -> Never:
    await beside()
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _stop(program: Program, process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(program.stop_signal)
    try:
        await asyncio.wait_for(process.wait(), program.stop_seconds)
    except TimeoutError:
        process.kill()
        raise ProgramEnded(program, await process.wait()) from None
