"""What can be done with an answer: copied as code, shared; and the live camera."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from testing.chromium import Chromium
from testing.page import Page, eventually

Files = Callable[..., list[Path]]

RUN = {
    "curl": ("sh", "copied.sh", []),
    "Python": (sys.executable, "copied.py", []),
    "JavaScript": ("node", "copied.mjs", []),
    "Go": ("go", "copied.go", ["run"]),
}
"""The program for each language, a file for the code, and what stands between them."""


@pytest.mark.usefixtures("chromium")  # one browser is enough
@pytest.mark.parametrize("language", RUN)
def test_the_copied_code_gives_the_same_answer(page: Page, files: Files, tmp_path: Path, language: str) -> None:
    program, name, between = RUN[language]
    if not shutil.which("curl" if language == "curl" else program):
        pytest.skip(f"needs {program}")
    page.choose(files("red"))
    page.settled(1)
    page.click(".tile .code")
    tabs = eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool .tabs button"))
    assert [tab.text for tab in tabs] == list(RUN)
    tabs[list(RUN).index(language)].click()
    code = page.one("dialog.tool code").get_attribute("textContent") or ""
    page.browser.execute_script("document.querySelector('dialog.tool').close()")
    (tmp_path / name).write_text(code)
    done = subprocess.run([program, *between, name], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "red" in done.stdout
    if language == "curl":
        assert json.loads(done.stdout)["label"] == "red"


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_code_is_copied_without_scrolling_however_long_it_is(page: Page, files: Files, size: tuple[int, int]) -> None:
    width, height = size
    page.browser.screen(width, height, phone=width < 500)
    page.choose(files("red"))
    page.settled(1)
    page.click(".tile .code")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool[open]"))
    page.click("dialog.tool .tabs button:last-child")
    copy, tabs = (
        page.one("dialog.tool .primary"),
        page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool .tabs button"),
    )
    assert copy.rect["y"] + copy.rect["height"] < height
    assert len({tab.rect["y"] for tab in tabs}) == 1, "the languages are beside each other"


def test_a_shared_picture_has_the_photo_and_the_answer(
    chromium: Chromium, page: Page, files: Files, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)})
    page.choose(files("red"))
    page.settled(1)
    page.click(".tile .share")
    eventually(lambda: page.message() == "Saved as red.jpg.")
    eventually(lambda: [path for path in saved.glob("red.jpg") if path.stat().st_size])
    with Image.open(saved / "red.jpg") as picture:
        assert picture.width >= 640
        red, green, blue = picture.convert("RGB").resize((1, 3), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    assert red > 200 > 60 > max(green, blue)


def test_the_live_camera_names_what_it_sees_and_keeps_a_picture(page: Page) -> None:
    page.click("#live")
    answer = eventually(lambda: page.one("dialog.tool .spoken small").text)
    assert "%" in answer
    page.click("dialog.tool .primary")
    [name] = page.settled(1)
    assert name.startswith("camera-")
    assert not page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool")
