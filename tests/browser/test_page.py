"""What a person does with photos on the page."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.app import create_app
from gateway.pb.serving_pb2 import DataType
from gateway.settings import Settings
from testing.chromium import Browser, Page, eventually, screen
from testing.colour_server import ColourModel, ColourServer, ForeignModel, colour_scores
from testing.gateway import running_gateway

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
    assert tiles["<b>empty.png"].detail == "Empty file. There is nothing in it."
    assert tiles["cut.jpg"].detail == ("Invalid image. The JPEG image is truncated or corrupt and cannot be decoded.")
    assert tiles["notes.txt"].detail.startswith("Unsupported image format. This is not an image")
    assert page.count() == "3 of 6 photos answered · 3 failed"
    assert not page.shown("#retry")  # they would only fail again


def test_an_answer_under_the_threshold_is_not_sure(visit: Visit, start: Start, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(threshold=0.5)}
    page = visit(start())
    paste(page, "grey.png", (128, 128, 128))
    tile = page.settled(1)["grey.png"]
    assert (tile.state, tile.heading) == ("unsure", "Not sure")
    assert tile.detail == "The best guess is red, at 33 % too little to name it."
    assert len(tile.bars) == 3
    assert page.count() == "1 of 1 photo answered · 1 not sure"


def paste(page: Page, name: str, colour: tuple[int, int, int]) -> None:
    """Press Ctrl+V with a picture on the clipboard."""
    page.browser.execute_async_script(
        """const [name, colour, done] = arguments;
        const canvas = new OffscreenCanvas(20, 20);
        const context = canvas.getContext('2d');
        context.fillStyle = `rgb(${colour})`;
        context.fillRect(0, 0, 20, 20);
        canvas.convertToBlob({type: 'image/png'}).then(blob => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([blob], name, {type: blob.type}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
            done();
        });""",
        name,
        list(colour),
    )


def test_dropped_folders_are_walked_and_only_pictures_taken(page: Page, files: Files, tmp_path: Path) -> None:
    dogs = tmp_path / "dogs"
    dogs.mkdir()
    files("red", "green", folder="dogs/small")
    files("blue", folder="dogs/large")
    (dogs / "labels.csv").write_text("a,b")
    (dogs / ".hidden.png").write_bytes(b"")
    [single] = files("grey")
    page.drop(dogs, single)
    tiles = page.settled(4)
    assert list(tiles) == ["blue-1.png", "green-2.png", "red-1.png", "grey-1.png"]
    assert tiles["green-2.png"].heading == "green"
    titles = [one.get_attribute("title") for one in page.browser.find_elements(By.CSS_SELECTOR, ".name")]
    assert titles[2] == "dogs/small/red-1.png"


def test_a_chosen_folder_leaves_out_what_is_no_picture_and_says_so(
    page: Page, model_server: ColourServer, files: Files, tmp_path: Path
) -> None:
    files("red", "blue", folder="dogs")
    (tmp_path / "dogs" / "labels.csv").write_text("a,b")
    model_server.stalled.set()  # or the answers would be announced before this can be read
    page.one("#folder").send_keys(str(tmp_path / "dogs"))
    eventually(lambda: page.message() == "2 photos added; 1 file left out, being no pictures.")
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
        assert (
            page.one(".caption").text
            == "Yellow speaks for blue, mostly in the upper middle; blue does not. Hatched: not seen by the model."
        )


def test_a_format_that_only_the_browser_reads_is_sent_as_one_that_the_gateway_does(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "phone.avif"
    Image.new("RGB", (64, 48), (10, 20, 250)).save(path)
    page.choose([path])
    assert page.settled(1)["phone.avif"].heading == "blue"


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
        == "Yellow speaks for red, mostly in the lower right; blue does not. Hatched: not seen by the model."
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
    paste(page, "red.png", (255, 0, 0))
    page.settled(1)
    assert not page.shown(".why")


def test_four_are_asked_at_a_time_and_the_rest_can_be_stopped_and_gone_on_with(
    page: Page, files: Files, model_server: ColourServer
) -> None:
    model_server.stalled.set()
    page.choose(files(*["red"] * 9))
    eventually(lambda: sorted(tile.state for tile in page.tiles()) == ["waiting"] * 5 + ["working"] * 4)
    page.click("#stop")
    eventually(lambda: [tile.state for tile in page.tiles()] == ["stopped"] * 9)
    assert page.count() == "0 of 9 photos answered · 9 stopped"
    model_server.stalled.clear()
    page.click("#resume")
    assert {tile.heading for tile in page.settled(9).values()} == {"red"}


def test_a_failed_photo_can_be_tried_again(page: Page, files: Files, model_server: ColourServer) -> None:
    good, model = files("red"), model_server.models["colours"]
    model_server.models["colours"] = {1: BrokenModel()}
    page.choose(good)
    tile = page.settled(1)["red-1.png"]
    assert tile.heading == "No answer"
    assert tile.detail.startswith("Bad answer from the model server")
    model_server.models["colours"] = model
    page.click(".tile .retry")
    assert page.settled(1)["red-1.png"].heading == "red"


class BrokenModel(ColourModel):
    """Answers with scores that are not numbers."""

    def predict(self, name: str, inputs):  # type: ignore[no-untyped-def]
        answer = super().predict(name, inputs)
        if "probabilities" in answer:
            answer["probabilities"].tensor_content = np.full(3, np.nan, "<f4").tobytes()
        return answer


def test_results_are_grouped_and_filtered_by_breed(page: Page, files: Files, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue", "red", "green"), tmp_path / "broken.png"])
    page.settled(5)
    page.click("#group")
    titles = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, "#tiles > section > h2")]
    assert titles == ["blue 1", "green 1", "red 2", "No answer 1"]
    page.click("#group")
    assert not page.browser.find_elements(By.CSS_SELECTOR, "#tiles > section > h2")
    choice = Select(page.one("#filter"))
    assert [one.text for one in choice.options] == ["All (5)", "blue (1)", "green (1)", "red (2)", "No answer (1)"]
    choice.select_by_visible_text("red (2)")
    shown = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile .name") if one.is_displayed()]
    assert shown == ["red-1.png", "red-3.png"]


def test_results_are_saved_as_csv_and_json(page: Page, files: Files, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)})
    formula = tmp_path / '=cmd|"x",1.png'
    formula.write_bytes(files("red")[0].read_bytes())
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([formula, tmp_path / "broken.png"])
    page.settled(2)
    page.click("#csv")
    page.click("#json")
    eventually(lambda: (saved / "answers.csv").exists() and (saved / "answers.json").exists())
    good, bad = csv.DictReader(io.StringIO((saved / "answers.csv").read_text("utf-8-sig"), newline=""))
    assert good["file"] == f"'{formula.name}"
    assert (good["state"], good["label"], good["model"], good["version"]) == ("named", "red", "colours", "1")
    assert float(good["confidence"]) == pytest.approx(0.893, abs=0.001)
    assert (good["label_2"], good["error"]) == ("green", "")
    assert (bad["state"], bad["label"], bad["error_code"]) == ("failed", "", "unsupported_image")
    listed = json.loads((saved / "answers.json").read_text())
    assert listed[0]["predictions"][0]["label"] == "red"
    assert listed[1]["error"]["code"] == "unsupported_image"


def test_photos_wait_while_no_model_answers_and_go_on_by_themselves(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    page = visit(start())
    page.choose(files("red"))
    page.settled(1)
    models = model_server.models.copy()
    model_server.models.clear()
    page.choose(files("blue", "green"))
    eventually(lambda: page.shown("#service"))
    eventually(lambda: page.one("#service strong").text == "Not ready yet.")
    eventually(lambda: "Your photos wait" in page.one("#service").text)
    assert page.tiles()[0].state == "done"
    model_server.models.update(models)
    assert [tile.heading for tile in page.settled(3).values()] == ["red", "blue", "green"]
    eventually(lambda: not page.shown("#service"))


def test_photos_wait_while_the_gateway_is_gone_and_go_on_by_themselves(
    visit: Visit, model_server: ColourServer, files: Files
) -> None:
    settings = Settings(serving_target=model_server.address, default_model="colours")
    with running_gateway(settings) as client:
        port = client.base_url.port or 0
        page = visit(client)
        page.ready()
    page.choose(files("red", "green"))
    eventually(lambda: page.shown("#service"))
    assert page.one("#service strong").text == "The service cannot be reached."
    eventually(lambda: all(tile.thumbnail for tile in page.tiles()))
    assert {tile.state for tile in page.tiles()} <= {"waiting", "working"}
    with running_gateway(settings, port=port):
        page.click("#service button")
        assert [tile.heading for tile in page.settled(2).values()] == ["red", "green"]
        eventually(lambda: not page.shown("#service"))
        eventually(
            lambda: page.announced() == "red-1.png: red, probably: 89 % sure. green-2.png: green, probably: 83 % sure."
        )


def test_model_and_version_are_picked_from_what_is_served(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["colours"] = {2: ColourModel(), 1: ColourModel(labels=("blue", "green", "red"))}
    model_server.models["other"] = {7: ColourModel(threshold=0.99)}
    page = visit(start(models="colours,other"))
    choice = Select(page.one("#model"))
    assert [one.text for one in choice.options] == ["colours", "other"]
    assert [one.text for one in Select(page.one("#version")).options] == ["newest (2)", "2", "1"]
    page.choose(files("red"))
    page.settled(1)
    Select(page.one("#version")).select_by_visible_text("1")
    again = page.one("#again")
    eventually(lambda: again.is_displayed() and "colours version 1" in again.text)
    choice.select_by_visible_text("other")
    eventually(lambda: again.text == "Ask other version 7 too (1)")
    page.click("#again")
    eventually(lambda: page.tiles()[0].heading == "red or not sure")
    assert not again.is_displayed()
    assert page.shown(".differ")
    columns = [one.text.splitlines() for one in page.browser.find_elements(By.CSS_SELECTOR, ".answers section")]
    assert [(column[0].split()[0], column[-1]) for column in columns] == [
        ("red", "colours, version 2"),
        ("not", "other, version 7"),
    ]


def test_a_new_version_is_noticed(visit: Visit, start: Start, model_server: ColourServer, files: Files) -> None:
    page = visit(start())
    assert page.one("#version").text == "1"
    model_server.models["colours"] = {5: ColourModel()}
    page.browser.execute_script("dispatchEvent(new Event('online'))")  # as when a laptop wakes up
    eventually(lambda: page.one("#version").text == "5")
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "red"


def test_the_model_card_is_read_in_words(page: Page) -> None:
    page.click("#show-card")
    text = eventually(lambda: page.one("#card").text)
    assert "colours, version 1" in text
    assert "Knows three colours." in text
    assert "The card does not say." in text
    assert "3 classes. It always names one." in text
    assert "8 pixels, scaled to cover, the middle is kept, bilinear" in text
    press(page, Keys.ESCAPE)
    eventually(lambda: not page.shown("#card"))


KEY = "sesame"
KEYED = {"api_keys": (hashlib.sha256(KEY.encode()).hexdigest(),)}


def test_a_key_is_asked_for_once_and_kept_for_the_tab(
    browser: Browser, visit: Visit, start: Start, files: Files
) -> None:
    client = start(**KEYED)
    page = Page(browser, str(client.base_url))
    page.browser.get(page.url)
    for key, title in (("wrong", "An API key is needed"), (KEY, "That key was not accepted")):
        eventually(partial(key_asked, page, title))
        page.one("#key-value").send_keys(key + Keys.ENTER)
    eventually(lambda: page.one("#show-card").is_enabled())
    assert not page.shown("#key")
    again = visit(client)  # the same tab, loaded anew
    again.choose(files("red"))
    assert again.settled(1)["red-1.png"].heading == "red"
    assert not again.shown("#key")
    page.browser.execute_script("sessionStorage.clear()")


def key_asked(page: Page, title: str) -> bool:
    """Whether the dialog that asks for a key is open, under this title."""
    return page.shown("#key") and page.one("#key-title").text == title


def test_without_a_key_the_page_says_what_is_missing(browser: Browser, start: Start) -> None:
    page = Page(browser, str(start(**KEYED).base_url))
    page.browser.get(page.url)
    eventually(lambda: page.shown("#key"))
    page.click("#key button[formnovalidate]")
    eventually(lambda: page.one("#service strong").text == "An API key is needed.")
    assert page.one("#service button").text == "Enter a key"
    page.click("#service button")
    eventually(lambda: page.shown("#key"))
    page.browser.get("about:blank")


def test_three_hundred_photos_dropped_at_once_are_all_answered(page: Page, files: Files) -> None:
    files(*["red", "green", "blue"] * 100, folder="many")
    page.drop(next(iter(files("red"))).parent / "many")
    tiles = page.settled(300)
    assert {name: tile.heading for name, tile in tiles.items()} == {name: name.split("-")[0] for name in tiles}
    assert all(tile.state == "done" for tile in tiles.values())


def test_removing_everything_leaves_the_page_as_it_was(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".tile .remove")
    assert page.count() == "1 of 1 photo answered"
    page.click("#clear")
    assert not page.tiles()
    assert not page.shown("#results")
    assert page.shown("#about")


def test_a_keyboard_is_enough(page: Page, files: Files) -> None:
    def focused() -> WebElement:
        return page.browser.switch_to.active_element

    names = []
    for _ in range(6):
        press(page, Keys.TAB)
        names.append(focused().get_attribute("aria-label") or focused().text)
    assert names[:4] == ["Breed gateway, start page", "Model card", "API", "Choose photos"]
    assert names[4:] == ["Live camera", "Choose a folder"]
    page.choose(files("red"))  # a dialog of the system, which no test can open
    page.settled(1)

    def tab_to(name: str) -> None:
        while name not in (focused().get_attribute("class") or "").split():
            press(page, Keys.TAB)

    tab_to("why")
    press(page, Keys.SPACE)
    eventually(lambda: page.shown(".heat"))
    tab_to("photo")
    press(page, Keys.ENTER)
    eventually(lambda: page.shown("#viewer"))
    press(page, Keys.ESCAPE)
    eventually(lambda: not page.shown("#viewer"))
    tab_to("remove")
    assert focused().get_attribute("aria-label") == "Remove red-1.png"
    press(page, Keys.ENTER)
    assert not page.tiles()
    assert focused().text == "Choose photos"


def press(page: Page, key: str) -> None:
    """Press one key."""
    ActionChains(page.browser).send_keys(key).perform()


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_cut_off_on_a_phone(page: Page, files: Files, width: int) -> None:
    screen(page.browser, width, 800, phone=True)
    assert page.shown('[data-source="camera"]')
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    page.click("#group")
    assert content_width(page) <= width
    page.click("#show-card")
    assert content_width(page) <= width


def test_a_thousand_labels_with_long_ones_fit_on_a_phone(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, tmp_path: Path
) -> None:
    def scores(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return np.pad(colour_scores(images), ((0, 0), (0, 997)))

    labels = tmp_path / "labels.txt"
    labels.write_text(
        "\n".join(["of the far islands in the north-west " * 4, "Donaudampfschifffahrt" * 5, *map(str, range(998))])
    )
    name = "a_model_" * 10
    model_server.models[name] = {
        1: ForeignModel({"x": (DataType.DT_UINT8, (-1, 8, 8, 3))}, {"y": (DataType.DT_FLOAT, (-1, 1000))}, scores)
    }
    page = visit(start(default_model=name, models="colours", model_options={name: {"labels": labels}}))
    screen(page.browser, 320, 800, phone=True)
    page.choose(files("red", "green"))
    page.settled(2)
    assert content_width(page) <= 320
    page.click("#group")
    assert content_width(page) <= 320
    page.click("#show-card")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#card summary"))
    page.click("#card summary")
    assert page.one("#card summary").text == "All 1,000"
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "#card .labels li")) == 1000
    assert content_width(page) <= 320


def content_width(page: Page) -> int:
    """What the page takes, in CSS pixels; a phone shows all of it, however small that makes it."""
    return int(page.browser.execute_script("return document.documentElement.scrollWidth"))


def test_versions_that_went_away_are_said_to_have(page: Page, files: Files, model_server: ColourServer) -> None:
    page.choose(files("red"))
    page.settled(1)
    model_server.models["colours"] = {2: replace(ColourModel())}
    page.click(".why")
    eventually(lambda: page.one(".caption").text.startswith("Version 1 has gone"))


def test_an_empty_folder_and_a_pasted_address_are_answered_in_words(page: Page, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "notes.txt").write_text("no photo")
    page.drop(tmp_path / "papers")
    eventually(lambda: page.message() == "There is no picture among these files.")
    page.browser.execute_script(
        """const clipboardData = new DataTransfer();
        clipboardData.setData('text/plain', 'https://example.org/dog.jpg');
        document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));"""
    )
    eventually(lambda: page.message().startswith("That is an address."))
    assert not page.tiles()


def test_removing_everything_can_be_undone(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    before = page.settled(2)
    page.click("#clear")
    eventually(lambda: page.message() == "All photos removed.")
    page.click("#toast button")
    assert page.settled(2) == before


def test_photos_that_a_filter_would_hide_lift_it(page: Page, files: Files) -> None:
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    Select(page.one("#filter")).select_by_visible_text("blue (1)")
    page.choose(files("red", folder="more"))
    page.settled(5)
    assert page.message() == "1 photo added; all are shown again."
    assert all(one.is_displayed() for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile"))


def test_the_viewer_pages_through_photos_and_closes_on_escape(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".tile .photo")
    assert page.one("#viewer h3").text == "red"
    press(page, Keys.ARROW_RIGHT)
    assert page.one("#viewer h3").text == "blue"
    press(page, Keys.ESCAPE)
    eventually(lambda: not page.shown("#viewer"))
    assert [tile.heading for tile in page.tiles()] == ["red", "blue"]


def test_heic_is_shown_and_explained_in_a_browser_that_cannot_read_it(page: Page, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    path = tmp_path / "phone.heic"
    heif.from_pillow(Image.new("RGB", (320, 240), (250, 20, 20))).save(path)
    page.choose([path])
    assert page.settled(1)["phone.heic"].heading == "red"
    eventually(lambda: page.tiles()[0].thumbnail)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_the_answer_to_one_photo_is_seen_whole_without_scrolling(
    page: Page, files: Files, size: tuple[int, int]
) -> None:
    width, height = size
    screen(page.browser, width, height, phone=width < 500)
    page.choose(files("red"))
    page.settled(1)
    bottom = page.browser.execute_script("return document.querySelector('.detail').getBoundingClientRect().bottom")
    assert bottom < height
    assert not page.shown("#filter")
    assert page.one("h3").is_displayed()


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
