"""What axe finds on the page, and what the page weighs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from selenium.webdriver.common.by import By

from testing.axe import findings
from testing.page import Page, eventually

Files = Callable[..., list[Path]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    page: Page, files: Files, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    page.browser.prefers(scheme)
    assert findings(page.browser) == []
    page.click("#show-known")
    eventually(lambda: page.shown(".known"))
    assert findings(page.browser) == []
    page.browser.execute_script("document.querySelector('.known').close()")
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue"), tmp_path / "broken.png"])
    page.settled(3)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    page.click("#group")
    assert findings(page.browser) == []
    page.click(".tile .photo")
    eventually(lambda: page.shown("#viewer"))
    assert findings(page.browser) == []
    page.browser.execute_script("document.getElementById('viewer').close()")
    page.click(".tile .code")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool[open]"))
    assert findings(page.browser) == []
    page.browser.execute_script("document.querySelector('dialog.tool').close()")
    page.browser.screen(390, 800, phone=True)
    assert findings(page.browser) == []
    page.click("#show-card")
    assert findings(page.browser) == []
    page.browser.execute_script("document.getElementById('card').close(); document.getElementById('key').showModal()")
    assert findings(page.browser) == []
    page.browser.execute_script(
        "document.getElementById('key').close(); document.getElementById('service').hidden = false"
    )
    assert findings(page.browser) == []


@pytest.mark.usefixtures("chromium")  # Firefox counts its icon twice
def test_the_page_is_there_after_45_kb_in_12_requests(page: Page) -> None:
    script = "return performance.getEntries().filter(one => one.transferSize).map(one => [one.name, one.transferSize])"
    first = dict(page.browser.execute_script(script))
    assert not any("session.js" in name for name in first), "the rest is loaded later"
    assert 5 < len(first) <= 12  # one of them the browser's, for the icon
    assert sum(first.values()) < 45_000


def test_all_that_the_page_loads_later_is_under_45_kb_too(page: Page) -> None:
    before = page.browser.execute_script("return performance.now()")
    page.ready()
    later = "performance.getEntries().filter(one => one.startTime > arguments[0])"
    script = f"return {later}.map(one => one.transferSize ?? 0)"
    assert 5_000 < sum(page.browser.execute_script(script, before)) < 45_000
