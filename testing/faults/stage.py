"""What faults happen to: two model servers and a gateway, each a process of its own on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]

VERSIONS = {1: (("red", "green", "blue"), 16), 2: (("blue", "red", "green"), 24), 3: (("green", "blue", "red"), 16)}
"""Labels, and pixels a side, of each version: an answer with the labels of another version is a wrong answer."""

CONFIG = """model_config_list {{
  config {{ name: "colours" base_path: "{folder}/colours" model_platform: "tensorflow" }}
  config {{ name: "labelled" base_path: "{folder}/labelled" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: {stable} }} }}
}}
"""

START_SECONDS = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


class Process:
    """A program that can be killed, stopped for a while, and started again."""

    def __init__(self, command: list[str], environment: dict[str, str], port: int, log: Path) -> None:
        self.port = port
        self._command = command
        self._environment = {**os.environ, **environment}
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its port is open."""
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stderr=log, stdout=log)
        wait_until(self._is_open, f"{self._command[2]} did not start: see {self._log}")

    def send(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._running.wait(60)

    def stop(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()

    def memory_mb(self) -> float:
        """Resident memory."""
        assert self._running is not None
        return float(psutil.Process(self._running.pid).memory_info().rss) / 2**20

    def _is_open(self) -> bool:
        assert self._running is not None
        if self._running.poll() is not None:
            raise ChildProcessError(f"{self._command[2]} ended with {self._running.returncode}: see {self._log}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Stage:
    """Both model servers, which share their models, and the gateway before them.

    Args:
        folder: Where models, configuration and logs go.
        settings: Of the gateway.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self._config = folder / "models.config"
        self.servers = [self._model_server(number) for number in range(2)]
        target = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        port = free_port()
        values = {"port": port, "serving_target": target, "default_model": "colours", "log_level": "error", **settings}
        environment = {f"GATEWAY_{name.upper()}": str(value) for name, value in values.items()}
        self.gateway = Process([sys.executable, "-m", "gateway"], environment, port, folder / "gateway.log")
        self.url = f"http://127.0.0.1:{port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Stage]:
        """Build the models, start everything, and stop it at the end."""
        built = [sys.executable, "-m", "testing.faults.models", str(self.folder / "built")]
        subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
        self.publish(1)
        for version in (1, 2):
            self.publish(version, "labelled")
        self.move_label(1)
        try:
            for process in (*self.servers, self.gateway):
                process.start()
            wait_until(self.is_ready, "the gateway is not ready")
            yield self
        finally:
            for process in (self.gateway, *self.servers):
                process.stop()

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310, url is http
                return int(answer.status) == 200
        except OSError:
            return False

    def publish(self, version: int, model: str = "colours") -> None:
        """Publish a version as a trainer does: under a hidden name first."""
        base = self.folder / model
        base.mkdir(exist_ok=True)
        hidden = base / f".{version}"
        shutil.copytree(self.folder / "built" / str(version), hidden)
        hidden.rename(base / str(version))

    def publish_broken(self, version: int) -> None:
        hidden = self.folder / "colours" / f".{version}"
        hidden.mkdir()
        (hidden / "saved_model.pb").write_bytes(b"no SavedModel")
        hidden.rename(self.folder / "colours" / str(version))

    def delete(self, version: int) -> None:
        path = self.folder / "colours" / str(version)
        shutil.rmtree(path.rename(path.with_name(f".deleted{version}")))

    def move_label(self, version: int) -> None:
        hidden = self._config.with_suffix(".new")
        hidden.write_text(CONFIG.format(folder=self.folder, stable=version))
        hidden.rename(self._config)

    def _model_server(self, number: int) -> Process:
        port = free_port()
        flags = [
            "--host=127.0.0.1",
            f"--port={port}",
            f"--model_config_file={self._config}",
            "--model_config_file_poll_wait_seconds=0.2",
            "--file_system_poll_wait_seconds=0.2",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_batching=true",
            f"--batching_parameters_file={ROOT / 'serving/batching.config'}",
            "--max_num_load_retries=1",
            "--load_retry_interval_micros=100000",
        ]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        return Process([sys.executable, "-m", "modelserver", *flags], quiet, port, self.folder / f"server{number}.log")
