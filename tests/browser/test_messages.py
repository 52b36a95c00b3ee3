"""Every message is seen, not only heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from testing.chromium import Chromium
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]

ON_TOP = """
    const box = document.getElementById('toast'), {left, top, right, bottom} = box.getBoundingClientRect();
    const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
    return inside && box.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
"""


KEPT = """
    const box = document.getElementById('toast');
    return box?.querySelector(':scope[data-shown] p')?.textContent === arguments[0] && (box.onpointerenter(), true);
"""


def assert_seen(page: Page, message: str) -> None:
    """Whether the toast says this, whole, on top of everything and in letters that stand out.

    It is kept once it is there, as under a pointer, so that the rest may take its time.
    """
    eventually(lambda: page.browser.execute_script(KEPT, message))
    assert page.one("#toast p").text == message
    assert page.browser.execute_script(ON_TOP)
    pixels = page.picture("#toast").astype(float).mean(axis=2)
    assert abs(pixels.max() - pixels.min()) > 180, "letters that stand out"


PASTE = """
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', arguments[0]);
    document.body.dispatchEvent(Object.assign(new Event('paste', {bubbles: true}), {clipboardData}));
"""


@everywhere
def test_it_is_said_what_was_wrong_with_folders_and_what_was_pasted(page: Page, files: Files, tmp_path: Path) -> None:
    for folder in ("empty", "papers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "papers" / "notes.txt").write_text("no photo")
    field = page.one("#folder")
    page.browser.choose_folder(field, tmp_path / "empty")
    assert_seen(page, "The folder is empty. Choose one with pictures.")
    page.browser.choose_folder(field, tmp_path / "papers")
    assert_seen(page, "There is no picture among these files.")
    page.browser.execute_script(PASTE, "https://example.org/dog.jpg")
    assert_seen(
        page,
        "That is a web address. This page contacts no other server: "
        "save the picture and choose it, or copy the picture itself.",
    )
    page.browser.execute_script(PASTE, "a boxer")
    assert_seen(page, "That is text. Paste a picture instead.")
    page.browser.execute_script(PASTE, "")
    assert_seen(page, "No picture was found.")
    assert not page.tiles()
    files("red", "blue", folder="papers")
    page.browser.choose_folder(field, tmp_path / "papers")
    assert_seen(page, "2 photos added; 1 file skipped: not a picture.")
    assert set(page.settled(2)) == {"red-1.png", "blue-2.png"}


@everywhere
def test_it_is_said_that_a_filter_was_lifted_and_that_removed_photos_can_be_had_back(page: Page, files: Files) -> None:
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    Select(page.one("#filter")).select_by_visible_text("blue (1)")
    page.choose(files("red", folder="more"))
    before = page.settled(5)
    assert_seen(page, "1 photo added; all are shown again.")
    assert all(one.is_displayed() for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile"))
    page.touch("#clear")
    assert_seen(page, "All photos removed.")
    assert not page.tiles()
    page.touch("#toast button")
    assert page.settled(5) == before
    eventually(lambda: page.message() == "")


@everywhere
def test_it_is_said_what_was_saved_above_an_open_photo(
    page: Page, files: Files, tmp_path: Path, screen: Screen
) -> None:
    page.browser.saves_in(tmp_path / "saved")
    page.choose(files("red", "blue"))
    page.settled(2)
    page.touch(".tile .photo")
    eventually(lambda: page.shown("#viewer"))
    page.touch("#viewer .share")
    assert_seen(page, "Saved as red.jpg.")
    left, _, right, _ = page.box("#toast")
    assert abs(left + right - screen.width) < 20, "in the middle"


def test_what_a_link_misses_is_said_when_its_tab_comes_to_the_front(chromium: Chromium, page: Page) -> None:
    """A message lasts a few seconds, and nobody sees it in a tab behind others."""
    behind = chromium.current_window_handle
    chromium.execute_script(FOLLOW_WHEN_HIDDEN, f"{page.url}?model=cats")
    added = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOTE})
    try:
        chromium.switch_to.new_window("tab")
        try:
            chromium.get(f"{page.url}/docs")  # the same origin
            eventually(lambda: chromium.execute_script("return localStorage.loaded") == "hidden")
        finally:
            chromium.close()
            chromium.switch_to.window(behind)
        assert_seen(page, "The link asks for cats, which is not served here.")
        assert chromium.execute_script("return window.said") == "visible"
    finally:
        chromium.execute_script("localStorage.clear()")
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


FOLLOW_WHEN_HIDDEN = """
    const address = arguments[0];
    document.addEventListener('visibilitychange', () => document.hidden && location.assign(address));
"""

NOTE = """
    const noted = (id, note) => new MutationObserver(note).observe(document.getElementById(id), {attributes: true});
    document.addEventListener('DOMContentLoaded', () => {
        noted('toast', () => window.said ??= document.visibilityState);
        noted('show-card', () => localStorage.loaded = document.visibilityState);
    });
"""
