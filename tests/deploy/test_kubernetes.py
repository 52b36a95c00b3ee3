"""The manifests against the Kubernetes schemas, and against the programs that they start.

The base is validated file by file everywhere; overlays are rendered by the real kustomize that is inside kubectl, and
skip where there is no kubectl.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import cast

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from gateway.command_line import unknown_variables
from gateway.inference.worker_pools import IMAGE_OVERTIME, SMALL_LIMITS, TENSOR_OVERTIME
from gateway.settings import Settings
from modelserver import flags
from modelserver.config import parse_batching
from testing import ROOT
from testing.polling import DEADLINE_SECONDS
from trainer.prediction import predict
from trainer.prediction.sources import Shard

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.37")
Manifest = dict[str, object]


def manifests(text: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(text) if one]


def base() -> list[Manifest]:
    kustomization = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    return [one for name in kustomization["resources"] for one in manifests((KUBERNETES / "base" / name).read_text())]


def rendered(folder: Path) -> list[Manifest]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl to render kustomize overlays")
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return manifests(done.stdout)


def at(manifest: object, path: str) -> object:
    """What is at a path such as ``spec.containers.0.args``."""
    for key in path.split("."):
        manifest = manifest[int(key)] if isinstance(manifest, list) else cast(Manifest, manifest)[key]
    return manifest


def named(resources: list[Manifest], kind: str, name: str) -> Manifest:
    [one] = [one for one in resources if one["kind"] == kind and at(one, "metadata.name") == name]
    return one


POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_of_the_base_is_valid(version: str) -> None:
    resources = base()
    assert len(resources) == 12
    for manifest in resources:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", ["base", "overlays/gpu", "overlays/object-storage"])
def test_every_rendered_manifest_is_valid(overlay: str) -> None:
    resources = rendered(KUBERNETES / overlay)
    assert len(resources) >= 12
    for manifest in resources:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_a_manifest_with_a_misspelt_field_is_not_valid() -> None:
    broken = named(base(), "Service", "gateway")
    cast(Manifest, broken["spec"])["portz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_gpu_overlay_asks_for_a_gpu_and_its_image() -> None:
    serving = named(rendered(KUBERNETES / "overlays/gpu"), "Deployment", "serving")
    assert at(serving, f"{CONTAINER}.image") == "tensorflow/serving:2.20.0-gpu"
    assert cast(Manifest, at(serving, f"{CONTAINER}.resources.limits"))["nvidia.com/gpu"] == 1


def test_the_object_storage_overlay_mounts_the_bucket() -> None:
    resources = rendered(KUBERNETES / "overlays/object-storage")
    claim = named(resources, "PersistentVolumeClaim", "models")
    assert at(claim, "spec.volumeName") == at(
        named(resources, "PersistentVolume", "breed-gateway-models"), "metadata.name"
    )
    args = cast(list[str], at(named(resources, "Deployment", "serving"), f"{CONTAINER}.args"))
    assert "--max_num_load_retries=60" in args


def test_configuration_is_that_of_compose() -> None:
    for overlay_file, compose_file, more in (
        ("base/config.yaml", "batching", ["num_batch_threads { value: 2 }"]),  # for the processors that a pod has
        ("overlays/gpu/batching.yaml", "batching-gpu", []),
    ):
        config_map = named(manifests((KUBERNETES / overlay_file).read_text()), "ConfigMap", "serving-config")
        ours = [line for line in (ROOT / f"serving/{compose_file}.config").read_text().splitlines() if line[:1] != "#"]
        assert cast(str, at(config_map, "data")["batching.config"]).splitlines() == [*ours, *more]  # type: ignore[index]
    data = cast(dict[str, str], at(named(base(), "ConfigMap", "serving-config"), "data"))
    ours_models = text_format.Parse((ROOT / "serving/models.config").read_text(), ModelServerConfig())
    assert text_format.Parse(data["models.config"], ModelServerConfig()) == ours_models


def test_a_changed_configuration_reaches_the_pods_without_a_rollout() -> None:
    """A folder of a ConfigMap follows it, a single file mounted out of one does not; a generated name is a new one."""
    serving = named(base(), "Deployment", "serving")
    [volume] = [one for one in cast(list[Manifest], at(serving, f"{POD}.volumes")) if "configMap" in one]
    assert at(volume, "configMap.name") == at(named(base(), "ConfigMap", "serving-config"), "metadata.name")
    mounts = cast(list[Manifest], at(serving, f"{CONTAINER}.volumeMounts"))
    [mount] = [one for one in mounts if one["name"] == volume["name"]]
    assert "subPath" not in mount
    args = cast(list[str], at(serving, f"{CONTAINER}.args"))
    assert f"--model_config_file={mount['mountPath']}/models.config" in args
    assert flags.parse(args).model_config_file_poll_wait_seconds > 0


def test_the_programs_take_what_they_are_given() -> None:
    resources = base()
    args = cast(list[str], at(named(resources, "Deployment", "serving"), f"{CONTAINER}.args"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert args[:-1] == compose["services"]["serving"]["command"][:-1]
    processors = at(named(resources, "Deployment", "serving"), f"{CONTAINER}.resources.requests.cpu")
    assert args[-1] == f"--tensorflow_session_parallelism={processors}"
    assert flags.parse(args).port == 8500
    settings = gateway_settings(resources)
    assert settings.serving_target == "dns:///serving-headless:8500"
    grace = cast(int, at(named(resources, "Deployment", "gateway"), f"{POD}.terminationGracePeriodSeconds"))
    assert grace > settings.shutdown_timeout_seconds + 5


def gateway_settings(resources: list[Manifest]) -> Settings:
    data = cast(dict[str, str], at(named(resources, "ConfigMap", "gateway-settings"), "data"))
    return Settings.model_validate({key.removeprefix("GATEWAY_").lower(): value for key, value in data.items()})


def test_a_gateway_that_decodes_the_costliest_images_stays_under_its_memory_limit() -> None:
    resources = base()
    settings = gateway_settings(resources)
    assert settings.decode_workers > 0, "by itself it is the number of the node's cores"
    limit = at(named(resources, "Deployment", "gateway"), f"{CONTAINER}.resources.limits.memory")
    assert limit == "3Gi"
    small = settings.image_workers + IMAGE_OVERTIME + 1 + TENSOR_OVERTIME
    large = 2 + (settings.prediction_log_photos != "none")
    workers = small * SMALL_LIMITS.memory_bytes + large * settings.worker_memory_bytes
    # 256 MB is more than the processes take that are always there.
    assert workers + settings.max_upload_memory_bytes + 256 * 2**20 < 3 * 2**30


@pytest.mark.parametrize("batching", ["base/config.yaml", "overlays/gpu/batching.yaml"])
def test_one_model_server_takes_what_all_gateways_together_may_send(batching: str) -> None:
    resources = base()
    gateways = cast(int, at(named(resources, "HorizontalPodAutoscaler", "gateway"), "spec.maxReplicas"))
    images = gateways * gateway_settings(resources).max_images_in_flight
    args = cast(list[str], at(named(resources, "Deployment", "serving"), f"{CONTAINER}.args"))
    assert flags.parse(args).grpc_max_threads >= images + gateways, "and one of each for its questions after models"
    config_map = named(manifests((KUBERNETES / batching).read_text()), "ConfigMap", "serving-config")
    queue = parse_batching(cast(dict[str, str], at(config_map, "data"))["batching.config"])
    assert queue.execution_size * queue.max_enqueued_batches >= images


def test_the_pod_that_models_are_copied_through_writes_what_the_servers_read() -> None:
    [pod] = manifests((KUBERNETES / "copy-models.yaml").read_text())
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    serving = named(base(), "Deployment", "serving")
    assert at(pod, "spec.securityContext") == at(serving, f"{POD}.securityContext")
    claim = at(pod, "spec.volumes.0.persistentVolumeClaim")
    assert claim == {"claimName": at(named(base(), "PersistentVolumeClaim", "models"), "metadata.name")}
    [mount] = cast(list[Manifest], at(pod, "spec.containers.0.volumeMounts"))
    mounts = [one for one in cast(list[Manifest], at(serving, f"{CONTAINER}.volumeMounts")) if one["name"] == "models"]
    assert [one["mountPath"] for one in mounts] == [mount["mountPath"]]


def test_the_job_that_predicts_gives_each_part_of_the_photos_to_one_pod() -> None:
    [job] = manifests((KUBERNETES / "predict-job.yaml").read_text())
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    variables = {one["name"]: one["value"] for one in cast(list[dict[str, str]], at(job, f"{CONTAINER}.env"))}
    shards = cast(int, at(job, "spec.completions"))
    assert variables["PARTS"] == str(shards)
    [shell, option, text] = cast(list[str], at(job, f"{CONTAINER}.command"))
    begin = "exec python -m breed "
    assert text.startswith(begin)
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser.add_subparsers().add_parser("predict"))
    arguments_of_pods = []
    for index in range(shards):
        environment = variables | {"JOB_COMPLETION_INDEX": str(index)}
        command = [shell, option, text.replace(begin, "printf '%s\\n' ")]
        words = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
        arguments_of_pods.append(parser.parse_args(words))
    assert [one.shard for one in arguments_of_pods] == [Shard(number, shards) for number in range(1, shards + 1)]
    assert len({one.output for one in arguments_of_pods}) == shards
    claim = at(named(base(), "PersistentVolumeClaim", "models"), "metadata.name")
    assert at(job, f"{POD}.volumes.0.persistentVolumeClaim.claimName") == claim


def test_what_pods_are_told_of_services_is_not_taken_for_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = base()
    service_variables: dict[str, str] = {}
    # What is set for each Service of the namespace in every pod, unless it wants none; its ConfigMap wins over that.
    if cast(Manifest, at(named(resources, "Deployment", "gateway"), POD)).get("enableServiceLinks", True):
        for service in (one for one in resources if one["kind"] == "Service"):
            name = str(at(service, "metadata.name")).upper().replace("-", "_")
            service_variables |= {f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_PORT": "tcp://10.0.0.1:80"}
    data = service_variables | cast(dict[str, str], at(named(resources, "ConfigMap", "gateway-settings"), "data"))
    for variable, value in data.items():
        monkeypatch.setenv(variable, value)
    assert Settings().port == 8000
    assert unknown_variables(data) == []


def test_the_gateway_sees_every_model_server() -> None:
    headless = named(base(), "Service", "serving-headless")
    assert at(headless, "spec.clusterIP") == "None"
    selector = at(headless, "spec.selector")
    assert selector == at(named(base(), "Deployment", "serving"), "spec.template.metadata.labels")


@pytest.mark.parametrize("name", ["gateway", "serving"])
def test_pods_run_with_no_more_rights_than_they_need(name: str) -> None:
    deployment = named(base(), "Deployment", name)
    assert at(deployment, f"{POD}.securityContext.runAsNonRoot") is True
    assert at(deployment, f"{POD}.automountServiceAccountToken") is False
    assert at(deployment, f"{CONTAINER}.securityContext") == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert at(deployment, f"{CONTAINER}.{probe}")
    policy = named(base(), "NetworkPolicy", name)
    assert at(policy, "spec.podSelector.matchLabels") == at(deployment, "spec.selector.matchLabels")
