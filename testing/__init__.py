"""Harnesses that tests, benchmarks and scripts share: servers, processes, browsers, callers, faults and the soak.

Nothing here is a test, and nothing here is shipped. It may import the programs of this project; they import none of it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The root of the repository."""

TESTDATA = Path(os.environ.get("TESTDATA", ROOT.parent / "shared" / "testdata"))
"""Real photos, weights and awkward files, which are no part of the project and may not be there."""
