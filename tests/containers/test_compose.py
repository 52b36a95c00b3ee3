"""The service in containers, from a clean clone to an answer and down again."""

import io
import json

import httpx
import pillow_heif
import pytest
from PIL import Image

from tests.containers.conftest import START_SECONDS, Stack, run, wait_until

pytestmark = pytest.mark.containers


def predict(stack: Stack) -> httpx.Response:
    photo = stack.drawing()
    return httpx.post(
        f"{stack.url}/api/v1/predict_breed", files={"dog_image": (photo.name, photo.read_bytes())}, timeout=30
    )


def test_a_photo_posted_from_outside_is_answered(stack: Stack) -> None:
    answer = predict(stack)
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"]
    assert answer.json()["model"] == {"name": "dog_breed", "version": 1}


def test_a_heic_photo_as_phones_make_it_is_answered(stack: Stack) -> None:
    sent = io.BytesIO()
    with Image.open(stack.drawing()) as drawing:
        pillow_heif.from_pillow(drawing).save(sent)
    answer = httpx.post(f"{stack.url}/api/v1/predict_breed", content=sent.getvalue(), timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"] == predict(stack).json()["breed"]


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
    wait_until(lambda: run("docker", "inspect", "-f", "{{.State.StartedAt}}", serving) != started, 60)
    wait_until(stack.is_ready, 120)
    assert predict(stack).status_code == 200


def test_down_leaves_nothing_behind(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    for kind in ("container", "network", "volume"):
        project = f"label=com.docker.compose.project={stack.environment['COMPOSE_PROJECT_NAME']}"
        assert run("docker", kind, "ls", "-q", *(["-a"] if kind == "container" else []), "--filter", project) == ""
