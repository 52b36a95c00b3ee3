"""The service in containers, from a clean clone to an answer and down again."""

import io
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pillow_heif
import pytest
from PIL import Image

from testing.polling import until
from tests.containers.conftest import (
    BUILD_SECONDS,
    PROMETHEUS_STAND_IN,
    STAND_IN,
    START_SECONDS,
    Stack,
    run,
)

pytestmark = pytest.mark.containers


def predict(stack: Stack) -> httpx.Response:
    files = {"dog_image": ("photo.jpg", stack.photo())}
    return httpx.post(f"{stack.url}/api/v1/predict_breed", files=files, timeout=30)


def test_a_photo_posted_from_outside_is_answered(stack: Stack) -> None:
    answer = predict(stack)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 5
    assert answer.json()["model"] == {"name": "dog_breed", "version": 1}


def test_a_heic_photo_as_phones_make_it_is_answered(stack: Stack) -> None:
    sent = io.BytesIO()
    with Image.open(io.BytesIO(stack.photo())) as photo:
        pillow_heif.from_pillow(photo).save(sent)
    answer = httpx.post(f"{stack.url}/api/v1/predict_breed", content=sent.getvalue(), timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] == predict(stack).json()["predictions"][0]["label"]


def test_the_trainer_leaves_a_published_model_alone(stack: Stack) -> None:
    stack.compose("run", "--rm", "trainer", seconds=START_SECONDS)
    assert sorted(path.name for path in (stack.models_dir / "dog_breed").iterdir()) == ["1"]


def test_what_the_trainer_writes_belongs_to_the_owner_of_the_folder(stack: Stack) -> None:
    owner = stack.models_dir.stat().st_uid
    assert owner != 0
    assert {path.stat().st_uid for path in stack.models_dir.rglob("*")} == {owner}
    assert run("docker", "inspect", "-f", "{{.State.ExitCode}}", stack.container("trainer")) == "0"


@pytest.mark.parametrize("service", ["serving", "gateway"])
def test_no_process_of_a_container_runs_as_root(stack: Stack, service: str) -> None:
    processes = run("docker", "top", stack.container(service), "-eo", "uid,pid,args").splitlines()[1:]
    assert processes
    assert {line.split()[0] for line in processes} == {"10001"}


def test_the_trainer_gives_up_root_before_it_works(stack: Stack) -> None:
    assert stack.compose("run", "--rm", "trainer", "id", "-u") == str(stack.models_dir.stat().st_uid)


@pytest.mark.parametrize("service", ["trainer", "serving", "gateway"])
def test_a_container_cannot_change_its_system_or_gain_rights(stack: Stack, service: str) -> None:
    (container,) = json.loads(run("docker", "inspect", stack.container(service)))
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert container["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]


@pytest.mark.usefixtures("stack")
def test_the_gateways_image_holds_no_tensorflow_and_adds_less_than_150_mb_to_its_base() -> None:
    find = "import importlib.util as u; print([n for n in ('tensorflow', 'keras', 'pip') if u.find_spec(n)])"
    assert run("docker", "run", "--rm", "breed-gateway", "python", "-c", find) == "[]"
    base = "python:3.11-slim-bookworm"
    sizes = {
        image: int(run("docker", "image", "inspect", "-f", "{{.Size}}", image)) for image in (base, "breed-gateway")
    }
    assert sizes["breed-gateway"] - sizes[base] < 150e6


def test_a_model_server_that_was_killed_comes_back_by_itself(stack: Stack) -> None:
    serving = stack.container("serving")
    started = run("docker", "inspect", "-f", "{{.State.StartedAt}}", serving)
    run("docker", "exec", serving, "bash", "-c", "kill -KILL -1 || true")
    until(lambda: run("docker", "inspect", "-f", "{{.State.StartedAt}}", serving) != started)
    until(stack.is_ready)
    assert predict(stack).status_code == 200


def received(container: str) -> int:
    """Bytes that came in over the network: nearly all of them pixels."""
    interfaces = run("docker", "exec", container, "cat", "/proc/net/dev").splitlines()[2:]
    return sum(int(line.split(":")[1].split()[0]) for line in interfaces if line.split(":")[0].strip() != "lo")


def shares(stack: Stack, containers: list[str], requests: int) -> list[float]:
    """Each model server's part of a load from eight callers, all of whom are answered."""
    before = [received(one) for one in containers]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: predict(stack).status_code, range(requests)))
    assert answers == [200] * requests
    grown = [received(one) - start for one, start in zip(containers, before, strict=True)]
    return [one / sum(grown) for one in grown]


def test_three_model_servers_share_the_load_and_one_that_goes_and_one_that_comes_are_noticed(stack: Stack) -> None:
    scale = ("up", "-d", "--scale", "serving=3")
    stack.compose(*scale, seconds=START_SECONDS)
    three = stack.containers("serving")
    assert len(three) == 3
    until(lambda: min(shares(stack, three, 30)) > 0.2)
    assert shares(stack, three, 300) == pytest.approx([1 / 3] * 3, abs=0.07)

    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(predict, stack) for _ in range(300)]
        until(lambda: sum(one.done() for one in pending) > 50)
        run("docker", "rm", "-f", three[0])
    assert {one.result().status_code for one in pending} == {200}
    assert shares(stack, three[1:], 100) == pytest.approx([1 / 2] * 2, abs=0.1)

    stack.compose(*scale, seconds=START_SECONDS)
    [added] = set(stack.containers("serving")) - set(three)
    until(lambda: shares(stack, [*three[1:], added], 30)[2] > 0.2)


DEBIANS_PROMETHEUS = """FROM python:3.11-slim-bookworm
RUN apt-get update -qq && apt-get install -qq --no-install-recommends prometheus && install -d -o nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
"""
ASK = "import http.client as h; c = h.HTTPConnection('prometheus', 9090); c.request('GET', '/api/v1/query?query=up'); "


def test_prometheus_of_the_monitoring_profile_finds_the_gateway_and_the_model_servers(
    stack: Stack, tmp_path: Path
) -> None:
    if stack.environment["PROMETHEUS_IMAGE"] == PROMETHEUS_STAND_IN:
        (tmp_path / "Dockerfile").write_text(DEBIANS_PROMETHEUS)
        run("docker", "build", "-q", "-t", PROMETHEUS_STAND_IN, str(tmp_path), seconds=BUILD_SECONDS)
    profile = ("--profile", "monitoring")
    stack.compose(*profile, "up", "-d", "--no-deps", "prometheus")

    def up() -> dict[str, list[str]]:
        code = f"{ASK}print(c.getresponse().read().decode())"
        process = subprocess.run(
            ("docker", "exec", stack.container("gateway"), "python", "-c", code), capture_output=True, timeout=30
        )
        values: dict[str, list[str]] = {}
        for one in json.loads(process.stdout)["data"]["result"] if process.returncode == 0 else []:
            values.setdefault(one["metric"]["job"], []).append(one["value"][1])
        return values

    try:
        # The stand-in for TensorFlow Serving has no metrics: it is found, and does not answer.
        answers = "0" if stack.environment["SERVING_IMAGE"] == STAND_IN else "1"
        servers = [answers] * len(stack.containers("serving"))
        until(lambda: up() == {"gateway": ["1"], "serving": servers})
    finally:
        stack.compose(*profile, "rm", "-sf", "prometheus")


def test_down_leaves_nothing_behind(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    for kind in ("container", "network", "volume"):
        project = f"label=com.docker.compose.project={stack.environment['COMPOSE_PROJECT_NAME']}"
        assert run("docker", kind, "ls", "-q", *(["-a"] if kind == "container" else []), "--filter", project) == ""
