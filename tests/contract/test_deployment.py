"""What the files around the programs say agrees with the programs: versions, settings, limits, flags."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

import gateway
import modelserver
import trainer
from gateway.settings import Settings
from modelserver import flags
from modelserver.config import parse_batching
from scripts.serve import _modelserver
from trainer.export.warmup import BATCH_SIZES, FEW
from trainer.network.backbone_names import REQUIREMENTS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE = (ROOT / "docker-compose.yml").read_text()
COMPOSE_GPU = (ROOT / "docker-compose.gpu.yml").read_text()


def pins(name: str) -> dict[str, str]:
    """Returns the pinned version of each package in requirements/NAME.txt."""
    lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
    matches = (re.match(r"([a-z0-9._-]+)==([^\s;]+)", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


def requirements_of(*requirements: list[str]) -> list[Requirement]:
    return [Requirement(text) for texts in requirements for text in texts if not text.startswith("breed-gateway")]


EXTRAS = PROJECT["project"]["optional-dependencies"]
BASE = PROJECT["project"]["dependencies"]


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("gateway", requirements_of(BASE, EXTRAS["heic"])),
        (
            "trainer",
            requirements_of(BASE, EXTRAS["modelserver"], EXTRAS["openvino"], EXTRAS["trainer"], EXTRAS["weights"]),
        ),
        ("modelserver", requirements_of(PROJECT["dependency-groups"]["modelserver-image"])),
        (
            "dev",
            requirements_of(
                BASE, EXTRAS["modelserver"], EXTRAS["trainer"], EXTRAS["weights"], PROJECT["dependency-groups"]["dev"]
            ),
        ),
    ],
)
def test_the_pins_are_what_the_project_asks_for(name: str, requirements: list[Requirement]) -> None:
    pinned = pins(name)
    for requirement in requirements:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_one_environment_serves_all_requirement_files() -> None:
    assert pins("gateway").items() <= pins("trainer").items() <= pins("dev").items()
    assert pins("modelserver").items() <= pins("trainer").items()


@pytest.mark.parametrize("name", ["gateway", "modelserver"])
def test_the_gateway_and_the_image_of_modelserver_are_installed_without_tensorflow(name: str) -> None:
    assert not {"tensorflow", "keras", "tensorflow-serving-api"} & pins(name).keys()


def test_tensorflow_its_serving_messages_and_both_images_share_one_minor_version() -> None:
    (minor,) = {
        str(requirement.specifier).removeprefix("==").removesuffix(".*")
        for requirement in requirements_of(EXTRAS["modelserver"])
        if requirement.name.startswith("tensorflow")
    }
    images = re.findall(r"tensorflow/serving:([0-9.]+)(-gpu)?\b", COMPOSE + COMPOSE_GPU)
    assert sorted(suffix for _, suffix in images) == ["", "-gpu"]
    for version in (*(version for version, _ in images), pins("trainer")["tensorflow"]):
        assert version.startswith(f"{minor}.")


def test_the_trainer_and_the_docs_name_the_packages_of_the_extra_kerashub() -> None:
    assert [text.partition(";")[0] for text in EXTRAS["kerashub"]] == list(REQUIREMENTS)
    command = "pip install " + " ".join(f"'{one}'" for one in REQUIREMENTS)
    assert command in (ROOT / "docs/training.md").read_text("utf-8")
    # Both pin the minor version, because tensorflow-text works with that of TensorFlow only.
    minor = {one.name.removesuffix("-text"): one.specifier for one in requirements_of(EXTRAS["modelserver"])}[
        "tensorflow"
    ]
    assert minor == {one.name: one.specifier for one in requirements_of(EXTRAS["kerashub"])}["tensorflow-text"]


def test_a_job_installs_the_extra_kerashub_and_runs_its_tests() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["kerashub"]["steps"] if "run" in step]
    assert any(".[kerashub]" in command for command in commands)
    tests = {ROOT / word for word in commands[-1].split() if word.endswith(".py")}
    assert tests == set((ROOT / "tests/trainer/network").glob("test_kerashub*.py"))


def test_packages_images_and_changelog_have_the_version_of_the_project() -> None:
    version = PROJECT["project"]["version"]
    assert {package.__version__ for package in (gateway, modelserver, trainer)} == {version}
    for name in ("gateway", "modelserver", "trainer"):
        label = re.search(r'image\.version="([^"]+)"', (ROOT / name / "Dockerfile").read_text())
        assert label is not None
        assert label[1] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_workflows_run_what_a_change_must_pass() -> None:
    for name in ("check", "release"):
        workflow = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
        assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["check"]["steps"]]
    dependent = {name: job.get("needs") for name, job in workflow["jobs"].items()}
    assert dependent == {"check": None, "wheel": "check", "images": "check"}


def test_every_setting_of_the_gateway_can_be_given_to_its_container() -> None:
    variables = set(re.findall(r"^      GATEWAY_([A-Z_]+):", COMPOSE, re.MULTILINE))
    # Inside the container these two are the image's, and what is published is the compose file's.
    assert variables == {name.upper() for name in Settings.model_fields} - {"HOST", "PORT"}


def test_onednn_is_on_wherever_tensorflow_serves() -> None:
    compose = yaml.safe_load(re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", COMPOSE))["services"]["serving"]
    assert str(compose["environment"]["TF_ENABLE_ONEDNN_OPTS"]) == "1"
    kubernetes = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/base/serving.yaml").read_text()))
    container = kubernetes["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "TF_ENABLE_ONEDNN_OPTS", "value": "1"} in container["env"]


def test_no_container_may_take_all_memory_of_the_machine() -> None:
    services = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", COMPOSE))["services"]
    assert {name: one["mem_limit"] for name, one in services.items()} == {
        "trainer": "8g",
        "serving": "4g",
        "gateway": "3g",
        "prometheus": "1g",
        "grafana": "512m",
    }


def test_images_of_others_are_pinned_or_the_page_on_deployment_says_which_are_not() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    files = [*ROOT.glob("*.yml"), *ROOT.glob("*/Dockerfile"), *(ROOT / "deploy").rglob("*.yaml")]
    text = "\n".join(file.read_text() for file in files)
    images = re.findall(r"(?:image: (?:\$\{\w+:-)?|FROM )(?!breed-)([\w./-]+:[\w.-]+)(@sha256:[0-9a-f]{64}\b)?", text)
    assert {"grafana/grafana:12.1.1", "python:3.11-slim-bookworm"} <= {name for name, _ in images}
    assert [name for name, digest in images if not digest and f"`{name}`" not in page] == []


def test_grafana_has_no_administrator_whose_password_is_known() -> None:
    environment = yaml.safe_load(COMPOSE)["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_the_modelserver_takes_every_flag_that_tensorflow_serving_is_given() -> None:
    defaults = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", COMPOSE + COMPOSE_GPU)
    arguments = re.findall(r"(--[a-z_]+=[^\s,\]]+)", defaults)
    assert len(arguments) > 10
    assert flags.parse(arguments).port == 8500


def test_the_modelserver_of_scripts_run_has_the_flags_of_the_container() -> None:
    compose = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", COMPOSE))
    own = _modelserver(1234, Path("models/models.config"))
    server, container = (
        dataclasses.asdict(flags.parse(arguments))
        for arguments in (own.command[3:], compose["services"]["serving"]["command"])
    )
    # Where things are; how soon a change is seen by people who wait for it; and what is for several servers.
    for name in ("host", "port", "model_config_file", "model_config_file_poll_wait_seconds", "grpc_channel_arguments"):
        del server[name], container[name]
    for one in (server, container):
        one["batching_parameters_file"] = one["batching_parameters_file"].name
        del one["ignored"]  # what only TensorFlow Serving can do
    assert server == container


@pytest.mark.parametrize("name", ["batching", "batching-gpu"])
def test_the_servers_batches_hold_what_the_gateway_sends(name: str) -> None:
    batching = parse_batching((ROOT / f"serving/{name}.config").read_text())
    settings = Settings.model_construct()
    assert settings.max_predict_batch_size <= batching.max_batch_size
    assert settings.max_images_in_flight <= batching.execution_size * batching.max_enqueued_batches


def test_models_are_warmed_up_with_the_batches_that_the_servers_run() -> None:
    cpu, gpu = (parse_batching((ROOT / f"serving/{name}.config").read_text()) for name in ("batching", "batching-gpu"))
    assert gpu.allowed_sizes == (*BATCH_SIZES, 64)
    assert Settings.model_construct().max_predict_batch_size == BATCH_SIZES[-1] <= cpu.max_batch_size
    assert cpu.execution_size == FEW


def test_tensorflow_serving_loads_the_default_model() -> None:
    config = text_format.Parse((ROOT / "serving/models.config").read_text(), ModelServerConfig())
    name = Settings.model_construct().default_model
    assert {entry.name: entry.base_path for entry in config.model_config_list.config} == {name: f"/models/{name}"}
