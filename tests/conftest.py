"""What tests of several parts share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from schemathesis.pytest.plugin import SchemathesisFunction

from testing import ROOT, TESTDATA

FIRST_MODEL_SECONDS = 600

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
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "trainer" not in item.path.parts))


@pytest.fixture(scope="session")
def first_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with the first model, as `scripts/run` makes it; only to be read."""
    models_dir = tmp_path_factory.mktemp("first-models")
    made = subprocess.run(
        [sys.executable, "-m", "scripts.first_model"],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir)},
        capture_output=True,
        text=True,
        timeout=FIRST_MODEL_SECONDS,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return models_dir
