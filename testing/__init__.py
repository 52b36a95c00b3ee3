"""Test harnesses for tests, benchmarks and scripts: servers, processes, a browser, load, faults and a soak test.

Nothing here is a test, and nothing here is shipped. It may import the programs of this project; they import none of it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The root of the repository."""

TESTDATA = Path(os.environ.get("TESTDATA", ROOT.parent / "shared" / "testdata"))
"""Real photos, weights and hostile files. They are not part of the repository and may be missing."""
