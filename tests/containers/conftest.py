"""The stack of docker-compose.yml on a real Docker engine, from nothing to ready."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.photos import draw_photos
from testing import ROOT
from testing.polling import until
from testing.processes import free_port

STAND_IN = "breed-modelserver"
PROMETHEUS_STAND_IN = "breed-test-prometheus"
BUILD_SECONDS = 1800
START_SECONDS = 600


def run(*command: str, environment: dict[str, str] | None = None, seconds: float = 60) -> str:
    """Returns what a command prints; its errors fail the test with their text."""
    ended = subprocess.run(
        command, env={**os.environ, **(environment or {})}, cwd=ROOT, capture_output=True, text=True, timeout=seconds
    )
    assert ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout.strip()


@dataclass(frozen=True)
class Stack:
    """A running project of Compose."""

    command: tuple[str, ...]
    environment: dict[str, str]
    models_dir: Path
    url: str

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        return run(*self.command, *arguments, environment=self.environment, seconds=seconds)

    def containers(self, service: str) -> list[str]:
        # `ps -a` of modern Compose and `ps` of 1.29 both list containers that ended; `docker ps` does so for both.
        project = self.environment["COMPOSE_PROJECT_NAME"]
        return run(
            *("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ).split()

    def container(self, service: str) -> str:
        [one] = self.containers(service)
        return one

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def photo(self) -> bytes:
        """A photo as it is sent; what it shows does not matter to these tests."""
        return draw_photos(1)[0]


def compose_command() -> tuple[str, ...]:
    """Returns Compose's command, or skips with what is missing."""
    if not shutil.which("docker"):
        pytest.skip("needs Docker")
    if subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode:
        pytest.skip("needs a Docker engine that answers (DOCKER_HOST)")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30).returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    pytest.skip("needs Docker Compose")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The service as `docker compose up` makes it in a clean clone, with no model yet."""
    command = compose_command()
    models_dir = tmp_path_factory.mktemp("models")
    models_dir.chmod(0o755)  # as a clone makes it, for every user to read
    port = free_port()
    environment = {
        "COMPOSE_PROJECT_NAME": f"breed-test-{os.getpid()}",
        "PORT": str(port),
        "MODELS_DIR": str(models_dir),
        "SERVING_IMAGE": os.environ.get("SERVING_IMAGE", STAND_IN),
        "PROMETHEUS_IMAGE": os.environ.get("PROMETHEUS_IMAGE", PROMETHEUS_STAND_IN),
    }
    stack = Stack(command, environment, models_dir, f"http://127.0.0.1:{port}")
    started = time.monotonic()
    run("docker", "build", "-q", "-f", "modelserver/Dockerfile", "-t", STAND_IN, ".", seconds=BUILD_SECONDS)
    stack.compose("build", seconds=BUILD_SECONDS)
    built = time.monotonic()
    try:
        stack.compose("up", "-d", seconds=START_SECONDS)
        until(stack.is_ready, "the stack is ready")
        stands_in = ", which stands in for tensorflow/serving" if environment["SERVING_IMAGE"] == STAND_IN else ""
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            request.config.get_terminal_writer().line(
                f"\nmodel server: {environment['SERVING_IMAGE']}{stands_in}; "
                f"built in {built - started:.0f} s, ready {time.monotonic() - built:.0f} s later"
            )
        yield stack
    finally:
        stack.compose("down", "--volumes")
