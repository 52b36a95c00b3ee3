"""What axe finds on the page, and what the page weighs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from typing import Literal

import pytest

from testing.chromium import Page, eventually, prefers, screen

Files = Callable[..., list[Path]]


def serious(page: Page) -> list[str]:
    """Serious and critical findings of axe, with the elements that they are about."""
    page.browser.execute_script(resources("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.browser.execute_async_script("axe.run().then(arguments[0])")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:100] for node in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(
    page: Page, files: Files, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    prefers(page.browser, scheme)
    assert serious(page) == []
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue"), tmp_path / "broken.png"])
    page.settled(3)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    page.click("#group")
    assert serious(page) == []
    screen(page.browser, 390, 800, phone=True)
    assert serious(page) == []
    page.click("#show-card")
    assert serious(page) == []
    page.browser.execute_script("document.getElementById('card').close(); document.getElementById('key').showModal()")
    assert serious(page) == []
    page.browser.execute_script(
        "document.getElementById('key').close(); document.getElementById('service').hidden = false"
    )
    assert serious(page) == []


def test_the_page_weighs_less_than_100_kb(page: Page) -> None:
    script = (
        "return performance.getEntries().filter(one => one.decodedBodySize).map(one => [one.name, one.decodedBodySize])"
    )
    sizes = dict(page.browser.execute_script(script))
    assert len(sizes) > 10
    assert sum(sizes.values()) < 100_000
