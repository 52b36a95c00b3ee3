"""A client of TensorFlow Serving in Go, with messages that protoc generates from the published package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from testing.colour_server import ColourServer
from testing.photos import photo
from tests.gateway.grpc_api.conftest import grpc_gateway, models

pytestmark = pytest.mark.clients

LIBRARIES = Path("/usr/share/gocode")
"""Where Debian installs the sources of Go's gRPC."""


def with_dependencies(file: FileDescriptor) -> list[FileDescriptor]:
    """A file after all that it imports."""
    files = [one for dependency in file.dependencies for one in with_dependencies(dependency)]
    return list(dict.fromkeys([*files, file]))


def generate_messages(sources: Path) -> None:
    """Write Go packages of TensorFlow Serving's messages, one a folder of .proto files."""
    published = [predict_pb2.DESCRIPTOR, get_model_status_pb2.DESCRIPTOR]
    descriptors = FileDescriptorSet()
    packages: dict[str, list[str]] = {}
    for file in dict.fromkeys(one for root in published for one in with_dependencies(root)):
        copy = descriptors.file.add()
        file.CopyToProto(copy)
        if not file.name.startswith("google/"):
            folder = file.name.rpartition("/")[0]
            copy.options.go_package = f"serving/{folder};{folder.rpartition('/')[2]}"
            packages.setdefault(folder, []).append(file.name)
    (sources / "serving.pb").write_bytes(descriptors.SerializeToString())
    for names in packages.values():
        command = ["protoc", f"--descriptor_set_in={sources / 'serving.pb'}", f"--go_out={sources}", *names]
        subprocess.run(command, check=True, timeout=60)


@pytest.fixture
def go_client(tmp_path: Path) -> Path:
    """The client as a program."""
    missing = [name for name in ("go", "protoc", "protoc-gen-go") if shutil.which(name) is None]
    packages = [LIBRARIES / "src" / "google.golang.org" / name for name in ("grpc", "protobuf")]
    missing += [str(package) for package in packages if not package.is_dir()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    sources = tmp_path / "src"
    (sources / "client").mkdir(parents=True)
    generate_messages(sources)
    shutil.copy(Path(__file__).with_name("tensorflow_serving_client.go"), sources / "client")
    environment = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{LIBRARIES}", "GOCACHE": str(tmp_path / "cache")}
    build = ("go", "build", "-o", tmp_path / "client_program", "client")
    built = subprocess.run(
        build, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False
    )
    assert built.returncode == 0, built.stderr
    return tmp_path / "client_program"


def test_a_go_clients_calls_succeed_with_another_address(go_client: Path, tmp_path: Path) -> None:
    (tmp_path / "green.jpg").write_bytes(photo("green"))
    server = ColourServer(models=models())
    with server.serving(), grpc_gateway(server) as (client, _):
        command: list[str | Path] = [go_client, client.headers["x-grpc-address"], tmp_path / "green.jpg"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    scores = answer.pop("scores")
    assert scores.index(max(scores)) == 1  # green
    assert answer == {"version": 1, "state": "AVAILABLE", "refusal": "InvalidArgument"}
