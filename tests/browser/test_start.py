"""The start page: what there is to do at once."""

from __future__ import annotations

import re

from testing.page import Page
from tests.browser.screens import Screen, everywhere


@everywhere
def test_there_is_something_to_try_at_once_without_a_photo_at_hand(page: Page, screen: Screen) -> None:
    offered = {
        "#live": True,
        '[data-source="photos"]': True,
        '[data-source="camera"]': screen.phone,
        '[data-source="folder"]': not screen.phone,
        ".hint": not screen.phone,
    }
    for selector, expected in offered.items():
        assert page.shown(selector) is expected, selector
        if expected:
            left, top, right, bottom = page.box(selector)
            assert 0 <= left < right <= screen.width, selector
            assert 0 <= top < bottom <= screen.height, "without scrolling"
    if not screen.phone:
        assert re.sub(r"\s+", " ", page.one(".hint").text).endswith("or paste a picture: Ctrl V")
    paste = page.browser.execute_script("return document.querySelectorAll('img').length")
    assert paste == 0, "no photo but one's own"


@everywhere
def test_the_page_is_as_dark_as_one_prefers(page: Page, screen: Screen) -> None:
    ground = page.picture()[-40:, 2:10].mean()
    assert (ground < 60) if screen.scheme == "dark" else (ground > 200)
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= screen.width
