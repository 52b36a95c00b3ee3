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
    assert tiles["notes.txt"].detail.startswith("Unsupported image format. This is not an image")
    assert page.count() == "3 of 6 photos answered · 3 failed"
    assert not page.shown("#retry")  # they would only fail again


def test_an_answer_under_the_threshold_is_not_sure(visit: Visit, start: Start, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(threshold=0.5)}
    page = visit(start())
    page.paste("grey.png", (128, 128, 128))
    tile = page.settled(1)["grey.png"]
    assert (tile.state, tile.heading) == ("unsure", "Not sure")
    assert tile.detail == "The best guess is red, but 33 % is too low to be sure."
    assert len(tile.bars) == 3
    assert page.count() == "1 of 1 photo answered · 1 not sure"


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


def test_why_lays_the_heat_where_it_is_and_takes_it_away_again(page: Page, tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 200), (10, 10, 10))
    image.paste((255, 0, 0), (240, 120, 290, 180))  # right of the middle, below; inside of what a crop keeps
    path = tmp_path / "spot.png"
    image.save(path)
    page.choose([path])
    page.settled(1)
    page.click(".why")
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
    page.click(".why")
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


def test_heic_is_shown_and_explained_in_a_browser_that_cannot_read_it(page: Page, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    path = tmp_path / "phone.heic"
    heif.from_pillow(Image.new("RGB", (320, 240), (250, 20, 20))).save(path)
    page.choose([path])
    assert page.settled(1)["phone.heic"].heading == "red"
    eventually(lambda: page.tiles()[0].thumbnail)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))


def test_a_part_of_a_photo_is_asked_about(page: Page, tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 300), (10, 10, 240))
    image.paste((240, 10, 10), (60, 50, 340, 250))
    path = tmp_path / "two.png"
    image.save(path)
    page.choose([path])
    page.settled(1)
    page.click(".crop")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool[open] canvas"))
    page.browser.execute_script("document.querySelector('dialog.tool canvas').focus()")
    for _ in range(5):
        ActionChains(page.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP).key_up(
            Keys.SHIFT
        ).perform()
    page.click("dialog.tool .primary")
    assert page.settled(2)["part of two.jpg"].heading.startswith("red")
    place = page.browser.execute_script("return document.querySelectorAll('.tile')[1].getBoundingClientRect().toJSON()")
    assert 0 <= place["top"] < place["bottom"] <= 900, "the new photo is seen"


def test_versions_that_went_away_are_said_to_have(page: Page, files: Files, model_server: ColourServer) -> None:
    page.choose(files("red"))
    page.settled(1)
    model_server.models["colours"] = {2: replace(ColourModel())}
    page.click(".why")
    eventually(lambda: page.one(".caption").text.startswith("Version 1 is no longer available"))
