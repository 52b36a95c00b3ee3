"""What tests of several parts share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from testing import TESTDATA

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
