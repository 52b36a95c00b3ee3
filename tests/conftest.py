"""What tests of several parts share."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fsspec import AbstractFileSystem
from hypothesis import HealthCheck, settings
from schemathesis.pytest.plugin import SchemathesisFunction

from testing import TESTDATA

LONGEST = (
    "trainer/training/test_imagenet_dogs.py",
    "gateway/test_main.py",
    "gateway/serving/test_channel.py",
    "trainer/training/test_train.py",
    "gateway/http/test_fuzz.py",
    "scripts/test_serve.py",
    "trainer/test_improvement.py",
    "trainer/export/test_portable.py",
    "trainer/training/test_resume.py",
    "trainer/rollout/test_rollout.py",
    "trainer/training/test_fine_tuning.py",
    "modelserver/test_versions.py",
    "scripts/test_venv.py",
    "trainer/test_served.py",
    "modelserver/test_engines.py",
    "trainer/prediction/test_predict.py",
    "bench/test_smoke.py",
    "trainer/export/test_reexport.py",
    "trainer/export/test_quantization.py",
    "deploy/test_prometheus.py",
    "gateway/observability/test_metrics.py",
)
"""Files that take 8 s and more, the longest first, as measured on two cores. `pytest --durations=0` measures again."""

PARTS_WITH_TENSORFLOW = frozenset({"trainer", "modelserver"})
"""Of the others, these take longest."""

# The same examples every time and on every machine, however busy it is.
settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def testdata() -> Path:
    """Real photos, weights and awkward files, which are no part of the project."""
    if not TESTDATA.is_dir():
        pytest.skip("needs the folder of real photos: set TESTDATA to where it is")
    return TESTDATA


def pytest_collection() -> None:
    """Put off garbage collection: almost all that is imported and collected stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later garbage collection, which takes half a second else."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no process is left alone with one of them at the end.

    Raises:
        pytest.UsageError: Tests have the same id. pytest-xdist would run only one of them.
    """
    for item in items:
        # schemathesis 4.32 gives its tests of each operation a name, from which pytest 9.2 no longer makes their ids.
        if isinstance(item, SchemathesisFunction) and item.id.params is None:
            item._id = item.id.with_params(item.operation_label)
    repeated = [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]
    if repeated:
        raise pytest.UsageError(f"tests have the same id: {', '.join(repeated)}")
    places = {Path(__file__).parent / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), PARTS_WITH_TENSORFLOW.isdisjoint(item.path.parts)))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of a server that speaks S3; tests use `s3`, which empties it again."""
    # Imported here, because this takes half a second and every process collects all tests.
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AbstractFileSystem]:
    """Empty object storage, which clients find by variables of the environment."""
    import s3fs

    variables = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in (variables | {"DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()
    httpx.post(f"{s3_server}/moto-api/reset")


@pytest.fixture(scope="session")
def first_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with the first model, as `scripts/run` makes it; only to be read."""
    from trainer.cli import main

    models_dir = tmp_path_factory.mktemp("first-models")
    assert main(["imagenet-dogs", "--models-dir", str(models_dir)]) == 0
    return models_dir
