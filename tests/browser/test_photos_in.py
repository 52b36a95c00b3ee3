"""How photos come into the page, and what is sent of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.app import create_app
from gateway.settings import Settings
from testing.chromium import Chromium
from testing.colour_server import ColourServer
from testing.gateway import running_gateway
from testing.page import Page, eventually

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_dropped_folders_are_walked_and_only_pictures_taken(
    chromium: Chromium, page: Page, files: Files, tmp_path: Path
) -> None:
    dogs = tmp_path / "dogs"
    dogs.mkdir()
    files("red", "green", folder="dogs/small")
    files("blue", folder="dogs/large")
    (dogs / "labels.csv").write_text("a,b")
    (dogs / ".hidden.png").write_bytes(b"")
    [single] = files("grey")
    chromium.drop(dogs, single)
    tiles = page.settled(4)
    assert list(tiles) == ["blue-1.png", "green-2.png", "red-1.png", "grey-1.png"]
    assert tiles["green-2.png"].heading == "green"
    titles = [one.get_attribute("title") for one in page.browser.find_elements(By.CSS_SELECTOR, ".name")]
    assert titles[2] == "dogs/small/red-1.png"


@pytest.mark.usefixtures("chromium")  # Marionette cannot choose folders
def test_a_chosen_folder_leaves_out_what_is_no_picture_and_says_so(
    page: Page, model_server: ColourServer, files: Files, tmp_path: Path
) -> None:
    files("red", "blue", folder="dogs")
    (tmp_path / "dogs" / "labels.csv").write_text("a,b")
    model_server.stalled.set()  # or the answers would be announced before this can be read
    page.one("#folder").send_keys(str(tmp_path / "dogs"))
    eventually(lambda: page.message() == "2 photos added; 1 file skipped: not a picture.")
    model_server.stalled.clear()
    assert set(page.settled(2)) == {"red-1.png", "blue-2.png"}


class SizesSeen:
    """Notes how many bytes each prediction was asked with."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.sizes: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/predict"):
            self.sizes.append(int(dict(scope["headers"])[b"content-length"]))
        await self.app(scope, receive, send)


def test_a_large_photo_is_shrunk_and_turned_upright_before_it_is_sent(
    visit: Visit, model_server: ColourServer, tmp_path: Path
) -> None:
    # Upright the upper half is blue; stored on its side, as a phone does.
    noise = np.random.default_rng(0).integers(70, 110, (2400, 1800, 3), np.uint8)
    noise[:1200, :, 2] += 100
    noise[1200:, :, 0] += 50
    exif = Image.Exif()
    exif[0x0112] = 6
    large = tmp_path / "large.jpg"
    Image.fromarray(noise).transpose(Image.Transpose.ROTATE_90).save(large, quality=95, exif=exif)
    settings = Settings(serving_target=model_server.address, default_model="colours")
    app = SizesSeen(create_app(settings))
    with running_gateway(settings, app) as client:
        direct = client.post("/api/v1/predict_breed", content=large.read_bytes()).json()
        page = visit(client)
        page.choose([large])
        assert page.settled(1)["large.jpg"].heading == "blue or red?"
        assert app.sizes[0] < 20_000 < 1_000_000 < large.stat().st_size
        [[label, share], *_] = page.tiles()[0].bars
        assert label == "blue"
        assert float(share.removesuffix(" %")) == pytest.approx(100 * direct["confidence"], abs=1)
        page.click(".why")
        eventually(lambda: page.shown(".heat"))
        assert page.one(".caption").text == (
            "Yellow areas support blue, mostly in the upper middle; blue areas do not. Hatched: not seen by the model."
        )


def test_a_format_that_only_the_browser_reads_is_sent_as_one_that_the_gateway_does(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "phone.avif"
    Image.new("RGB", (64, 48), (10, 20, 250)).save(path)
    page.choose([path])
    assert page.settled(1)["phone.avif"].heading == "blue"


def test_three_hundred_photos_dropped_at_once_are_all_answered(chromium: Chromium, page: Page, files: Files) -> None:
    files(*["red", "green", "blue"] * 100, folder="many")
    chromium.drop(next(iter(files("red"))).parent / "many")
    tiles = page.settled(300)
    assert {name: tile.heading for name, tile in tiles.items()} == {name: name.split("-")[0] for name in tiles}
    assert all(tile.state == "done" for tile in tiles.values())
