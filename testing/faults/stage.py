"""The system under test: two model servers and a gateway as processes on loopback."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from testing import ROOT
from testing.processes import LOOPBACK, Process, accepts, free_port

VERSIONS = {1: (("red", "green", "blue"), 16), 2: (("blue", "red", "green"), 24), 3: (("green", "blue", "red"), 16)}
"""Labels and input size of each version. An answer with the labels of another version is wrong."""

CONFIG = """model_config_list {{
  config {{ name: "colours" base_path: "{folder}/colours" model_platform: "tensorflow" }}
  config {{ name: "labelled" base_path: "{folder}/labelled" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: {stable} }} }}
}}
"""


class Stage:
    """Two model servers with the same models, and a gateway in front of them.

    Args:
        folder: Where models, configuration and logs go.
        engine: Of the model servers.
        settings: Of the gateway.
    """

    def __init__(self, folder: Path, engine: str = "tensorflow", **settings: object) -> None:
        self.folder = folder
        self._engine = engine
        self._config = folder / "models.config"
        self._settings = settings
        self._gateway_port = free_port()
        self.url = f"http://{LOOPBACK}:{self._gateway_port}"
        self._grpc_port = free_port()
        self.grpc_address = f"{LOOPBACK}:{self._grpc_port}"
        self._ports = [free_port() for _ in range(2)]
        self.servers: list[Process] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Stage]:
        """Build the models, start all processes, and stop them at the end."""
        built = [sys.executable, "-m", "testing.faults.models", str(self.folder / "built")]
        subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
        self.publish(1)
        for version in (1, 2):
            self.publish(version, "labelled")
        self.move_label(1)
        with contextlib.ExitStack() as running:
            for number, port in enumerate(self._ports):
                server = self._model_server(number, port)
                running.callback(server.kill)
                self.servers.append(server)
            self.wait_for_servers()
            self.gateway = self._gateway(",".join(f"{LOOPBACK}:{port}" for port in self._ports))
            running.callback(self.gateway.stop)
            self.gateway.wait_until(self.is_ready)
            yield self

    def restart(self, *servers: Process) -> None:
        """Restart model servers that have ended, and wait until they listen."""
        for server in servers:
            server.start()
        self.wait_for_servers()

    def wait_for_servers(self) -> None:
        """Wait until every model server listens."""
        for server, port in zip(self.servers, self._ports, strict=True):
            server.wait_until(partial(accepts, f"{LOOPBACK}:{port}"))

    def gateway_memory_mb(self) -> float:
        """Memory of the gateway and its workers, in MB. Shared pages count once."""
        return self.gateway.tree.memory_bytes() / 2**20

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310, url is http
                return int(answer.status) == 200
        except OSError:
            return False

    def publish(self, version: int, model: str = "colours") -> None:
        """Publish a version like the trainer: copy under a hidden name, then rename."""
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

    def _model_server(self, number: int, port: int) -> Process:
        flags = [
            f"--host={LOOPBACK}",
            f"--port={port}",
            f"--engine={self._engine}",
            f"--model_config_file={self._config}",
            "--model_config_file_poll_wait_seconds=0.2",
            "--file_system_poll_wait_seconds=0.2",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_batching=true",
            f"--batching_parameters_file={ROOT / 'serving/batching.config'}",
            "--max_num_load_retries=1",
            "--load_retry_interval_micros=100000",
        ]
        log = self.folder / f"server{number}.log"
        return Process(f"model server {number}", ["modelserver", *flags], {"TF_CPP_MIN_LOG_LEVEL": "3"}, log)

    def _gateway(self, target: str) -> Process:
        values = {"port": self._gateway_port, "serving_target": target, "default_model": "colours"}
        values |= {"grpc_port": self._grpc_port, "log_level": "error", **self._settings}
        environment = {f"GATEWAY_{name.upper()}": str(value) for name, value in values.items()}
        return Process("gateway", ["gateway"], environment, self.folder / "gateway.log")
