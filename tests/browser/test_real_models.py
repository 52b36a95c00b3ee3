"""The page before a model server with TensorFlow: it gives the breeds of pictures that are known."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, Page, eventually, mistakes, screen
from tests.conftest import ROOT

STARTED_SECONDS = 180.0
PHOTOS_OF_A_BREED = 2
OTHER_NAMES = {"scottish terrier": "scotch terrier"}
"""What ImageNet calls breeds whose folders have another name."""

Served = tuple[str, dict[Path, str]]


@contextmanager
def serving(models_dir: Path, **environment: str) -> Iterator[str]:
    """`scripts/run` past its first line; gives the address of the page."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.serve"],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir), "PORT": str(port), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield next(found[1] for line in process.stdout if (found := re.search(r"page +(http\S+)", line)))
    finally:
        process.terminate()
        process.communicate(timeout=STARTED_SECONDS)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """The page's address, and pictures with their breeds: photos where there are some, drawings otherwise."""
    testdata = Path(os.environ.get("TESTDATA", ROOT.parent / "shared" / "testdata"))
    if testdata.is_dir():
        weights = testdata / "weights" / "mobilenet_v2_1.0_224.weights.h5"
        with serving(tmp_path, WEIGHTS=str(weights)) as url:
            yield url, dict(photos(testdata / "dogs_natural"))
        return
    folders = [f"--models-dir={tmp_path}", f"--samples-dir={tmp_path / 'samples'}"]
    subprocess.run([sys.executable, "-m", "trainer", "sample", *folders], check=True, timeout=STARTED_SECONDS)
    drawings = ROOT / "gateway" / "web" / "samples"
    with serving(tmp_path) as url:
        listed = json.loads((drawings / "samples.json").read_text())
        yield url, {drawings / one["file"]: one["label"].lower() for one in listed}


def photos(folder: Path) -> Iterator[tuple[Path, str]]:
    """Some photos of each breed, and its name in lower case."""
    for breed in sorted(folder.iterdir()):
        name = breed.name.replace("_", " ")
        for photo in sorted(breed.glob("*.jpg"))[:PHOTOS_OF_A_BREED]:
            yield photo, OTHER_NAMES.get(name, name)


@pytest.mark.slow
def test_known_pictures_get_their_breeds(browser: Browser, served: Served) -> None:
    url, truth = served
    screen(browser, 1280, 900)
    page = Page(browser, url).open()
    page.choose(list(truth))
    tiles = page.settled(len(truth), seconds=60)
    right = [path for path, breed in truth.items() if tiles[path.name].bars[0][0].lower() == breed]
    assert len(right) >= 0.85 * len(truth)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    assert not mistakes(browser)
