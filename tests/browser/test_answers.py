"""What is said of a photo, and its heat map."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_chosen_photos_become_tiles_with_breed_confidence_and_bars(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    tiles = page.settled(2)
    assert tiles["red-1.png"].heading == "red"
    assert tiles["blue-2.png"].heading == "blue"
    assert tiles["red-1.png"].detail == "Probably: 89 % sure."
    assert tiles["red-1.png"].bars == [["red", "89 %"], ["green", "7 %"], ["blue", "4 %"]]
    assert all(tile.thumbnail for tile in tiles.values())
    assert page.count() == "2 of 2 photos answered"
    assert page.announced() == "red-1.png: red, probably: 89 % sure. blue-2.png: blue, probably: 86 % sure."


def test_a_file_that_fails_says_why_and_the_others_go_on(page: Page, files: Files, tmp_path: Path) -> None:
    corrupt, text, empty = tmp_path / "cut.jpg", tmp_path / "notes.txt", tmp_path / "<b>empty.png"
    empty.touch()
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(buffer, "JPEG")
    corrupt.write_bytes(buffer.getvalue()[:3000])
    text.write_text("no photo")
    page.choose([*files("red"), corrupt, text, empty, *files("blue", "green")])
    tiles = page.settled(6)
    assert [tile.heading for tile in tiles.values()] == ["red", *["No answer"] * 3, "blue", "green"]
    assert tiles["<b>empty.png"].detail == "Empty file. It contains no data."
    assert tiles["cut.jpg"].detail == ("Invalid image. The JPEG image is truncated or corrupt and cannot be decoded.")
    assert tiles["notes.txt"].detail.startswith("Unsupported image format. This is text, not an image.")
    assert page.count() == "3 of 6 photos answered · 3 failed"
    assert not page.shown("#retry")  # they would only fail again


@everywhere
def test_confidence_is_told_in_words_with_the_number_behind_it(
    visit: Visit, start: Start, model_server: ColourServer, screen: Screen
) -> None:
    model_server.models["colours"] = {1: ColourModel(threshold=0.5)}
    page = visit(start())
    expected = {
        "pure.png": ((250, 2, 2), "red", "Almost certainly: 98 % sure."),
        "red.png": ((250, 20, 10), "red", "Probably: 89 % sure."),
        "olive.png": ((124, 100, 6), "red or green?", "Maybe one, maybe the other: 54 % against 43 %."),
        "wine.png": ((116, 40, 42), "red?", "Maybe: 59 % sure."),
        "grey.png": ((128, 128, 128), "Not sure", "The best guess is red, but 33 % is too low to be sure."),
    }
    for name, (colour, _, _) in expected.items():
        page.paste(name, colour)
    tiles = page.settled(len(expected))
    assert {name: (tile.heading, tile.detail) for name, tile in tiles.items()} == {
        name: words for name, (_, *rest) in expected.items() for words in [tuple(rest)]
    }
    assert [tile.state for tile in tiles.values()] == ["done"] * 4 + ["unsure"]
    assert page.count() == "5 of 5 photos answered · 1 not sure"
    page.touch(".tile .guesses summary")
    guesses = eventually(lambda: page.one(".tile .guesses").text)
    assert "red" in guesses.splitlines()
    assert "green" not in guesses.splitlines(), "folded, because it is under 1 %"
    assert guesses.splitlines()[-1] == "Under 1 %: green, blue"
    left, _, right, _ = page.box(".tile .guesses")
    assert 0 <= left < right <= screen.width


@everywhere
def test_a_photo_of_something_else_says_what_it_looks_like(
    visit: Visit, start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(labels=("red", "green"), other_labels=("blue",), threshold=0.4)}
    page = visit(start())
    page.paste("sky.png", (10, 30, 250))
    assert page.settled(1)["sky.png"].heading == "Looks like blue"
    assert page.one(".tile h3").text == "Looks like blue"
    assert page.one(".tile .detail").text == "The model was not made to name such things."


def test_a_score_just_under_1_is_not_rounded_to_100_percent(page: Page, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.putpixel((3, 3), (255, 12, 0))  # 0.9993 of the light is red
    path = tmp_path / "red.png"
    image.save(path)
    page.choose([path])
    tile = page.settled(1)["red.png"]
    assert tile.detail == "Almost certainly: > 99.9 % sure."
    assert tile.bars[0] == ["red", "> 99.9 %"]


def test_several_labels_of_which_one_is_probably_right_are_all_named(
    visit: Visit, start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(least_set_score=0.2)}
    page = visit(start())
    page.paste("olive.png", (120, 110, 10))
    page.paste("grey.png", (130, 128, 126))
    page.paste("red.png", (250, 10, 10))
    tiles = page.settled(3)
    assert tiles["olive.png"].heading == "red or green?"
    assert tiles["olive.png"].detail == "Probably one of these: 50 % for the first."
    assert tiles["grey.png"].heading == "red, green or blue?"
    assert tiles["red.png"].heading == "red"


@everywhere
def test_why_lays_a_smooth_map_where_the_heat_is_and_takes_it_away_again(
    page: Page, tmp_path: Path, screen: Screen
) -> None:
    image = Image.new("RGB", (400, 200), (10, 10, 10))
    image.paste((255, 0, 0), (240, 120, 290, 180))  # right of the middle, below; inside of what a crop keeps
    path = tmp_path / "spot.png"
    image.save(path)
    page.choose([path])
    page.settled(1)
    page.touch(".why")
    eventually(lambda: page.shown(".heat"))
    assert (
        page.one(".caption").text
        == "Yellow areas support red, mostly in the lower right; blue areas do not. Hatched: not seen by the model."
    )
    assert page.one(".why").get_attribute("aria-pressed") == "true"
    heat = heat_of(page)
    height, width, _ = heat.shape
    spot, corner = heat[height * 150 // 200, width * 265 // 400], heat[2, 2]
    assert spot[0] > 200 > spot[2]
    assert corner[2] > 80 > corner[0]
    assert min(spot[3], corner[3]) > 60
    covered, uncovered = heat[:, width * 3 // 10 : width * 7 // 10].astype(float), heat[:, : width // 5]
    painted = covered[..., :3] * covered[..., 3:] / 255
    steps = [np.abs(np.diff(painted, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 30, "smooth"
    assert len(np.unique(uncovered[height // 2, :, 3])) == 2, "hatched"
    pixels = page.picture(".photo").astype(int)
    yellow = (pixels[..., 0] - pixels[..., 2] > 120) & (pixels[..., 1] > 60)
    rows, columns = np.nonzero(yellow)
    assert rows.mean() > pixels.shape[0] / 2
    assert columns.mean() > pixels.shape[1] / 2, "seen in the lower right"
    assert page.box(".caption")[3] <= screen.height, "explained on the same screen"
    page.touch(".why")
    assert not page.shown(".heat")
    assert page.one(".why").get_attribute("aria-pressed") == "false"


def heat_of(page: Page) -> npt.NDArray[np.uint8]:
    """What is painted over the first photo, uint8 (height, width, 4), RGBA."""
    script = """const canvas = document.querySelector('.heat'), {width, height} = canvas;
        return [width, height, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]];"""
    width, height, values = page.browser.execute_script(script)
    return np.array(values, np.uint8).reshape(height, width, 4)


def test_a_model_that_cannot_explain_offers_no_why(visit: Visit, start: Start, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(explains=False)}
    page = visit(start())
    page.paste("red.png", (255, 0, 0))
    page.settled(1)
    assert not page.shown(".why")


@everywhere
def test_heic_is_shown_and_explained_in_a_browser_that_cannot_read_it(page: Page, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    path = tmp_path / "phone.heic"
    heif.from_pillow(Image.new("RGB", (320, 240), (250, 20, 20))).save(path)
    page.choose([path])
    assert page.settled(1)["phone.heic"].heading == "red"
    eventually(lambda: page.tiles()[0].thumbnail)
    page.touch(".why")
    eventually(lambda: page.shown(".heat"))
    page.touch(".why")
    red, green, blue = page.picture(".photo").reshape(-1, 3).mean(axis=0)
    assert red > 150 > 100 > max(green, blue), "the photo is seen"


@everywhere
def test_a_part_of_a_photo_is_marked_with_keys_finger_or_mouse_turned_and_asked_about(
    page: Page, tmp_path: Path, screen: Screen
) -> None:
    image = Image.new("RGB", (400, 300), (10, 10, 240))
    image.paste((240, 10, 10), (0, 0, 200, 150))
    path = tmp_path / "four.png"
    image.save(path)
    page.choose([path])
    assert page.settled(1)["four.png"].heading == "blue"
    page.touch(".crop")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool[open] canvas"))
    left, top, right, bottom = page.box("dialog.tool")
    assert 0 <= left < right <= screen.width
    assert 0 <= top < bottom <= screen.height
    left, top, right, bottom = page.box("dialog.tool canvas")
    assert marked(page) == pytest.approx((0.1, 0.1, 0.9, 0.9), abs=0.03)
    page.browser.execute_script("document.querySelector('dialog.tool canvas').focus()")
    shift = ActionChains(page.browser).key_down(Keys.SHIFT)
    shift.send_keys(Keys.ARROW_LEFT * 5, Keys.ARROW_UP * 5).key_up(Keys.SHIFT).perform()
    assert marked(page) == pytest.approx((0.1, 0.1, 0.8, 0.8), abs=0.03)
    drag(page, (0.05, 0.05), (0.45, 0.4))
    assert marked(page) == pytest.approx((0.05, 0.05, 0.45, 0.4), abs=0.04)
    page.touch("dialog.tool .row button:nth-child(2)")
    assert marked(page) == pytest.approx((0.6, 0.05, 0.95, 0.45), abs=0.04), "turned to the right"
    page.touch("dialog.tool .primary")
    tiles = page.settled(2)
    assert tiles["part of four.jpg"].heading == "red"
    assert 0 <= page.box(".tile:nth-child(2)")[1] < screen.height / 2, "the new photo is seen"
    eventually(lambda: page.browser.execute_script(SHAPE) > 0)
    assert page.browser.execute_script(SHAPE) < 1, "turned, it is higher than wide"


SHAPE = """
    const {naturalWidth, naturalHeight} = document.querySelectorAll('.tile .front')[1];
    return naturalWidth / naturalHeight || 0;
"""


def marked(page: Page) -> tuple[float, ...]:
    """Which part of the photo has the yellow frame around it: left, top, right, bottom, as shares."""
    area = picture_area(page)
    pixels = page.picture()[area[1] : area[3], area[0] : area[2]].astype(int)
    rows, columns = np.nonzero(np.abs(pixels - (255, 214, 10)).sum(axis=2) < 60)
    height, width, _ = pixels.shape
    return columns.min() / width, rows.min() / height, columns.max() / width, rows.max() / height


def picture_area(page: Page) -> tuple[int, int, int, int]:
    """Where the photo is in the dialog, which may have bars beside it."""
    left, top, right, bottom = page.box("dialog.tool canvas")
    canvas = "const {width, height} = document.querySelector('dialog.tool canvas'); return width / height"
    shape = page.browser.execute_script(canvas)
    width, height = min(right - left, (bottom - top) * shape), min(bottom - top, (right - left) / shape)
    x, y = (left + right) / 2, (top + bottom) / 2
    return round(x - width / 2), round(y - height / 2), round(x + width / 2), round(y + height / 2)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Mark a part of the photo, from one corner to the other, each as shares of width and height."""
    left, top, right, bottom = picture_area(page)
    places = [(round((x - 0.5) * (right - left)), round((y - 0.5) * (bottom - top))) for x, y in (start, end)]
    page.touch("dialog.tool canvas", places[1], start=places[0])


def test_versions_that_went_away_are_said_to_have(page: Page, files: Files, model_server: ColourServer) -> None:
    page.choose(files("red"))
    page.settled(1)
    model_server.models["colours"] = {2: replace(ColourModel())}
    page.click(".why")
    eventually(lambda: page.one(".caption").text.startswith("Version 1 is no longer available"))
