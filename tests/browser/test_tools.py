"""What can be done with an answer: copied as code, and shared."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

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
    [file] = files("red")
    page.choose([file.rename(tmp_path / "red, green; 'blue' \"x\" $HOME !1 `x`.png")])
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


@everywhere
def test_the_code_that_is_copied_has_the_real_address_and_model(page: Page, files: Files, screen: Screen) -> None:
    page.choose(files("red"))
    page.settled(1)
    page.touch(".tile .code")
    tabs = eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool .tabs button"))
    assert [tab.text for tab in tabs] == list(RUN)
    assert len({page.box(tab)[1] for tab in tabs}) == 1, "the languages are beside each other"
    for tab in tabs:
        page.touch(tab)
        eventually(lambda tab=tab: tab.get_attribute("aria-pressed") == "true")  # type: ignore[misc]
        code = page.one("dialog.tool code").text
        assert f"{page.url}/api/v1/models/colours/predict?version=1" in code
        assert "red-1.png" in code
        assert page.box("dialog.tool .primary")[3] < screen.height, "without scrolling, however long the code is"
    page.touch("dialog.tool .primary")
    eventually(lambda: page.one("dialog.tool .primary").text == "Copied")
    assert pasted(page).split() == code.split()


def pasted(page: Page) -> str:
    """What comes of Ctrl+V in a field."""
    page.browser.execute_script(
        "arguments[0].append(Object.assign(document.createElement('textarea'), {id: 'pasted'}))",
        page.one("dialog.tool"),
    )
    field = page.one("#pasted")
    field.click()
    ActionChains(page.browser).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    text = eventually(lambda: str(field.get_attribute("value")))
    page.browser.execute_script("arguments[0].remove()", field)
    return text


@everywhere
def test_a_picture_of_photo_answer_and_mark_is_shared_or_saved(
    page: Page, files: Files, tmp_path: Path, screen: Screen
) -> None:
    page.choose(files("red"))
    page.settled(1)
    if screen.phone:  # whose share sheet no test can open
        page.browser.execute_script(SHARE_SHEET)
        page.touch(".tile .share")
        text, name, encoded = eventually(lambda: page.browser.execute_script("return window.given"))
        assert (text, name) == ("red", "red.jpg")
        body = base64.b64decode(encoded)
    else:
        saved = tmp_path / "saved"
        page.browser.saves_in(saved)
        page.touch(".tile .share")
        eventually(lambda: page.message() == "Saved as red.jpg.")
        eventually(lambda: [path for path in saved.glob("red.jpg") if path.stat().st_size])
        body = (saved / "red.jpg").read_bytes()
    with Image.open(io.BytesIO(body)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] >= 640
    photo, foot = pixels[:-190], pixels[-190:]
    red, green, blue = photo.reshape(-1, 3).mean(axis=0)
    assert red > 200 > 60 > max(green, blue)
    white, pale, yellow = (
        np.abs(foot - colour).sum(axis=2) < 40 for colour in ((255, 255, 255), (228, 234, 255), (255, 214, 10))
    )
    assert white[:, : pixels.shape[1] // 2].sum() > 500, "the answer"
    assert yellow[:, pixels.shape[1] * 3 // 4 :].sum() > 500, "the mark"
    assert pale[145:175, : pixels.shape[1] // 2].sum() > 100, "the question"


SHARE_SHEET = """
    Object.assign(Navigator.prototype, {
        canShare: ({files}) => files.length > 0,
        share: ({files: [file], text}) => new Promise((resolve) => {
            const reader = new FileReader();
            reader.onload = () => {
                window.given = [text, file.name, reader.result.split(',')[1]];
                resolve();
            };
            reader.readAsDataURL(file);
        }),
    });
"""
