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
from xdist.scheduler import LoadFileScheduling

from testing import TESTDATA
from testing.made_once import made_once
from testing.processes import reserved_port

TESTS = Path(__file__).parent

LONGEST = (
    "trainer/training/test_imagenet_dogs.py",
    "gateway/services/test_shutdown.py",
    "trainer/training/test_train.py",
    "modelserver/test_requests.py",
    "scripts/test_serve.py",
    "trainer/test_improvement.py",
    "trainer/export/test_signatures.py",
    "trainer/network/test_own_file.py",
    "trainer/export/test_publish_keras.py",
    "gateway/http/test_fuzz.py",
    "gateway/serving/test_channel.py",
    "modelserver/test_versions.py",
    "trainer/evaluation/test_evaluate.py",
    "modelserver/test_process.py",
    "trainer/rollout/test_rollout.py",
    "trainer/training/test_resume.py",
    "trainer/export/test_portable.py",
    "scripts/test_venv.py",
    "trainer/test_served.py",
    "trainer/export/test_quantization.py",
    "trainer/training/test_fine_tuning.py",
    "trainer/test_newcomer.py",
    "gateway/workers/test_overtime.py",
    "gateway/workers/test_pool.py",
    "modelserver/test_engines.py",
    "trainer/multi_label/test_train.py",
    "trainer/prediction/test_predict.py",
    "trainer/export/test_reexport.py",
    "deploy/test_prometheus.py",
    "bench/test_smoke.py",
    "gateway/test_several_processes.py",
)
"""Files that take 8 s and more, or stand for those of `TOGETHER` that do, the longest first, as measured on two cores.
`pytest --durations=0` measures again."""

PARTS_WITH_TENSORFLOW = frozenset({"trainer", "modelserver"})
"""Of the others, these take longest."""

TOGETHER = (
    ("ecosystem/test_grpc_against_tensorflow.py", "ecosystem/test_rest_against_tensorflow.py"),
    ("gateway/prediction_log/test_object_storage.py", "trainer/prediction/test_sources.py"),
    ("modelserver/test_batching.py", "modelserver/test_health.py", "modelserver/test_requests.py"),
    (
        "trainer/evaluation/test_benchmark.py",
        "trainer/evaluation/test_evaluate.py",
        "trainer/evaluation/test_report_figures.py",
    ),
    ("trainer/export/test_saved_model.py", "trainer/export/test_signatures.py"),
)
"""Files that run in the same process one after the other, because they share servers or models of their package."""

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


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nobody listens, for a server that is started later or again."""
    with reserved_port() as port:
        yield port


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tests of the page unless they are selected: importing them takes a tenth of the collection."""
    return True if collection_path == TESTS / "browser" and "not browser" in config.option.markexpr else None


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
    repeated = [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]
    if repeated:
        raise pytest.UsageError(f"tests have the same id: {', '.join(repeated)}")
    places = {TESTS / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), PARTS_WITH_TENSORFLOW.isdisjoint(item.path.parts)))


class TogetherScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Distributes files, and those of `TOGETHER` as if they were one.

    `--dist loadgroup` would do it, but xdist 3.8 sets ids of tests in a way that pytest 9.2 ignores.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((files[0] for files in TOGETHER if file.removeprefix("tests/") in files), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TogetherScheduling | None:
    return TogetherScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


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


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported version of a model of three colours, in `dog_breed/1` of a models directory; only to be read."""

    def publish(models_dir: Path) -> None:
        from testing.colour_model import publish_colours

        publish_colours(models_dir, threshold=0.5)

    return made_once(tmp_path_factory, "colour-model", publish) / "dog_breed" / "1"
