"""What axe finds on the page with everything open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from testing.axe import findings
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from tests.browser.screens import everywhere

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


@everywhere
def test_axe_finds_nothing_in_any_state(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, tmp_path: Path
) -> None:
    model_server.models["other"] = {7: ColourModel(threshold=0.87)}
    page = visit(start(models="colours,other", prediction_log=str(tmp_path / "log")))
    assert findings(page.browser) == []

    def open_(opener: str, dialog: str) -> None:
        """Open a dialog, ask axe about it, and close it."""
        page.click(opener)
        eventually(lambda: page.shown(f"{dialog}[open]"))
        assert findings(page.browser) == [], dialog
        page.press(Keys.ESCAPE)
        eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, f"{dialog}[open]"))

    open_("#show-known", ".known")
    open_("#show-card", "#card")
    open_("#live", ".tool")
    page.click("#keep-history")
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue"), tmp_path / "broken.png"])
    page.settled(3)
    Select(page.one("#model")).select_by_visible_text("other")
    eventually(lambda: page.shown("#again"))
    page.click("#again")
    eventually(lambda: page.tiles()[1].heading == "blue or not sure")
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    for guesses in page.browser.find_elements(By.CSS_SELECTOR, ".guesses"):
        page.browser.execute_script("arguments[0].open = true", guesses)
    page.choose(files("green", folder="more"))
    page.settled(4)
    page.click("#group")
    assert findings(page.browser) == []
    open_(".tile .photo", "#viewer")
    open_(".tile .code", ".tool")
    open_(".tile .crop", ".tool")
    open_(".tile .feedback button:last-child", ".pick")
    page.click(".tile .remove")
    eventually(lambda: page.shown("#toast"))
    page.browser.execute_script("document.getElementById('service').hidden = false")
    page.browser.execute_script("document.body.classList.add('over')")
    assert findings(page.browser) == []
    page.browser.execute_script("document.body.classList.remove('over'); document.getElementById('key').showModal()")
    assert findings(page.browser) == []
    eventually(lambda: page.browser.execute_script("return document.body.dataset.busy") == "no")
    page.open()
    eventually(lambda: page.shown("#past"))
    assert findings(page.browser) == []
    page.browser.execute_script("localStorage.clear()")
