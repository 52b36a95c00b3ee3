"""The page before a model server with TensorFlow: it gives the breeds of pictures that are known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testing import ROOT, TESTDATA
from testing.browser import Browser
from testing.page import Page, eventually
from testing.photos import photo

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STARTED_SECONDS = 180.0
PHOTOS_OF_A_BREED = 2
OTHER_NAMES = {"basset": "basset hound", "japanese spaniel": "japanese chin"}
"""The usual names of breeds whose folders have another."""

ServedVersion = tuple[str, dict[Path, str]]


@contextmanager
def serving(models_dir: Path, **environment: str) -> Iterator[str]:
    """`scripts/run` past its first line; gives the address of the page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.serve"],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir), "PORT": "0", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield next(match[1] for line in process.stdout if (match := re.search(r"page +(http\S+)", line)))
    finally:
        process.terminate()
        process.communicate(timeout=STARTED_SECONDS)


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServedVersion]:
    """The page's address, and pictures with their breeds: photos where there are some, colours otherwise."""
    models_dir = tmp_path / "models"
    if TESTDATA.is_dir():
        models_dir = request.getfixturevalue("first_models")
        truth = dict(photos(TESTDATA / "dogs_natural"))
    else:
        command = [sys.executable, "-m", "testing.colour_model", str(models_dir)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=STARTED_SECONDS)
        truth = {tmp_path / f"{colour}.png": colour for colour in ("red", "green", "blue")}
        for path, colour in truth.items():
            path.write_bytes(photo(colour))
    with serving(models_dir) as url:
        yield url, truth


def photos(folder: Path) -> Iterator[tuple[Path, str]]:
    """Some photos of each breed, and its name in lower case."""
    for breed in sorted(folder.iterdir()):
        name = breed.name.replace("_", " ")
        for path in sorted(breed.glob("*.jpg"))[:PHOTOS_OF_A_BREED]:
            yield path, OTHER_NAMES.get(name, name)


@pytest.mark.slow
def test_known_pictures_get_their_breeds(browser: Browser, served: ServedVersion) -> None:
    url, truth = served
    browser.screen(1280, 900)
    page = Page(browser, url).open()
    page.choose(list(truth))
    tiles = page.settled(len(truth))
    right = [path for path, breed in truth.items() if tiles[path.name].bars[0][0].lower() == breed]
    assert len(right) >= 0.85 * len(truth)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    assert not browser.mistakes()
