"""What tests of several parts share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def testdata() -> Path:
    """Real photos, weights and awkward files, which are no part of the project."""
    folder = Path(os.environ.get("TESTDATA", ROOT.parent / "shared" / "testdata"))
    if not folder.is_dir():
        pytest.skip("needs the folder of real photos: set TESTDATA to where it is")
    return folder
