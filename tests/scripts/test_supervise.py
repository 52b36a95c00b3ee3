"""The supervisor, on real child processes, stopped by real signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testing import ROOT
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import has_ended

# Runs the programs that its arguments give as NAME=PYTHON_CODE, and prints how it ended.
DRIVER = """
import asyncio, sys
from scripts.supervise import Program, ProgramEnded, supervise

async def fail():
    raise RuntimeError("never ready")

programs = [
    Program(name, [sys.executable, "-c", code], stop_seconds=0.5 if name == "deaf" else 60)
    for name, code in (argument.split("=", 1) for argument in sys.argv[2:])
]
try:
    asyncio.run(supervise(programs, beside=fail if sys.argv[1] == "failing" else None))
    print("stopped", flush=True)
except (ProgramEnded, RuntimeError) as error:
    print(error, flush=True)
"""

# A program that says when it is up and which signal it got, a line in one piece: others write to the same pipe.
SERVER = """
import os, signal, sys, time
def say(text):
    os.write(1, f"{name} {{text}}\\n".encode())
def stop(number, frame):
    say(f"got {{signal.Signals(number).name}}")
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
say(f"is {{os.getpid()}}")
while True:
    time.sleep(0.1)  # not signal.pause(), which misses a signal that comes just before it
"""


def server(name: str) -> str:
    return f"{name}={SERVER.format(name=name)}"


@contextmanager
def supervised(*programs: str, beside: str = "nothing") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, beside, *programs],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=_heed_hangup,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)


def _heed_hangup() -> None:
    # Tests that run under nohup pass on that it is ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def started(process: subprocess.Popen[str], count: int) -> dict[str, int]:
    """Reads until so many servers said that they are up; returns their process ids."""
    assert process.stdout
    lines = [process.stdout.readline().split() for _ in range(count)]
    return {name: int(number) for name, _, number in lines}


def rest(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=DEADLINE_SECONDS)[0].splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_programs_last_one_first(number: signal.Signals) -> None:
    with supervised(server("first"), server("second")) as process:
        started(process, 2)
        process.send_signal(number)
        assert rest(process) == ["second got SIGTERM", "first got SIGTERM", "stopped"]
        assert process.returncode == 0


def test_ctrl_c_in_a_terminal_reaches_no_program_directly() -> None:
    with supervised(server("first"), server("second")) as process:
        started(process, 2)
        os.killpg(process.pid, signal.SIGINT)
        assert rest(process) == ["second got SIGTERM", "first got SIGTERM", "stopped"]


def test_when_one_program_ends_the_other_is_stopped_and_the_end_is_told() -> None:
    with supervised(server("server"), "worker=import sys; sys.exit(3)") as process:
        output = rest(process)
        assert output[-1] == "worker ended with status 3"
        assert "server got SIGTERM" in output or not any(line.startswith("server is") for line in output)


def test_a_program_that_ends_well_ends_the_others_too() -> None:
    with supervised(server("server"), "worker=pass") as process:
        assert rest(process)[-1] == "worker ended with status 0"


def test_a_program_killed_from_outside_is_told_by_its_signal() -> None:
    with supervised(server("first"), server("second")) as process:
        pids = started(process, 2)
        os.kill(pids["first"], signal.SIGKILL)
        assert rest(process) == ["second got SIGTERM", "first was killed by SIGKILL"]


def test_a_program_that_does_not_stop_is_killed_and_told() -> None:
    deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'deaf is 0\\n')"
    with supervised(server("first"), f"deaf={deaf}; time.sleep(60)") as process:
        started(process, 2)
        process.send_signal(signal.SIGTERM)
        assert rest(process) == ["first got SIGTERM", "deaf was killed by SIGKILL"]


def test_a_program_that_cannot_be_started_stops_those_that_were() -> None:
    driver = DRIVER.replace("[sys.executable, ", "[name + '/missing' if name == 'second' else sys.executable, ")
    driver = driver.replace("(ProgramEnded, RuntimeError)", "FileNotFoundError")
    ended = subprocess.run(
        [sys.executable, "-c", driver, "nothing", server("first"), "second=pass"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert "second/missing" in ended.stdout


def test_what_fails_beside_the_programs_stops_them() -> None:
    with supervised(server("first"), beside="failing") as process:
        assert rest(process)[-1] == "never ready"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_no_program_outlives_a_supervisor_that_was_killed() -> None:
    with supervised(server("first"), server("second")) as process:
        pids = started(process, 2)
        process.kill()
        until(lambda: all(has_ended(pid) for pid in pids.values()))
