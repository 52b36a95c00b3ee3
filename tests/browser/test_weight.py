"""What goes over the line, and how the page does on a slow one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from testing.browser import Browser
from testing.chromium import Chromium
from testing.firefox import Firefox
from testing.line import Line, running_line
from testing.page import Page, eventually
from tests.browser.screens import everywhere

PHONE_LINE = 400_000 / 8
"""Bytes per second of a phone with a bad connection."""

WAIT_SECONDS = 4
"""Longest wait for the answer to a photo on such a line, from the click on; half of it is for browser and model."""


@pytest.fixture
def line(gateway: httpx.Client) -> Iterator[Callable[..., Line]]:
    """Lays a line to the gateway."""
    with ExitStack() as stack:
        yield lambda bytes_per_second=None: stack.enter_context(
            running_line(gateway.base_url.port or 0, bytes_per_second)
        )


@pytest.mark.usefixtures("screen")
@everywhere
def test_the_page_is_there_after_45_kb_in_12_requests(
    browser: Browser,
    line: Callable[..., Line],
) -> None:
    to_gateway = line()
    page = Page(browser, to_gateway.url).open()
    first, requests = to_gateway.received, list(to_gateway.requests)
    loaded = page.browser.execute_script("return performance.getEntries().map(one => one.name)")
    assert not any("session.js" in name for name in loaded), "the rest is loaded later"
    assert 5 < len(requests) <= 12, "\n".join(requests)
    assert 10_000 < first < 45_000
    page.ready()
    assert 5_000 < to_gateway.received - first < 45_000, "and the rest is no more than that"
    browser.get("about:blank")


@pytest.mark.usefixtures("screen")
@everywhere
def test_an_answer_comes_within_4_seconds_on_a_slow_line(
    browser: Browser,
    line: Callable[..., Line],
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 60, (1512, 2016, 3), np.uint8)
    noise[..., 0] += 150
    photo = tmp_path / "phone.jpg"
    Image.fromarray(noise).save(photo, quality=92)
    assert photo.stat().st_size > 1_000_000
    to_gateway = line(PHONE_LINE)
    page = Page(browser, to_gateway.url).open().ready()
    before = to_gateway.sent + to_gateway.received
    page.choose([photo])
    assert page.settled(1)["phone.jpg"].heading.startswith("red")
    assert to_gateway.sent + to_gateway.received - before < WAIT_SECONDS / 2 * PHONE_LINE
    browser.get("about:blank")


@everywhere  # Firefox's own network cannot be slowed down
def test_on_a_slow_line_one_photo_goes_at_a_time_and_says_how_far_it_is(
    chromium: Chromium, page: Page, tmp_path: Path
) -> None:
    # The browser cannot make these smaller, since they are cut off.
    buffer = io.BytesIO()
    Image.effect_noise((250, 250), 90).save(buffer, "JPEG", quality=98)
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(buffer.getvalue()[:-2000])
    line = {"offline": False, "latency": 50, "downloadThroughput": 100_000, "uploadThroughput": 30_000}
    chromium.execute_cdp_cmd("Network.enable", {})
    page.ready()
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    try:
        page.choose(paths)
        eventually(lambda: any(tile.detail.startswith("Sending, ") for tile in page.tiles()))
        assert 0 < int(next(tile.detail for tile in page.tiles() if tile.detail).split()[1]) < 100
        assert 0 < eventually(lambda: page.browser.execute_script(SENT)) < 1, "as a bar, too"
        eventually(lambda: [tile.state for tile in page.tiles()].count("failed") == 1)
        assert [tile.state for tile in page.tiles()].count("working") <= 1
    finally:
        line = {**line, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        chromium.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    assert {tile.state for tile in page.settled(3).values()} == {"failed"}


def test_firefox_says_how_far_a_large_photo_is(firefox: Firefox, line: Callable[..., Line], tmp_path: Path) -> None:
    photo = tmp_path / "broken.jpg"  # so that the browser cannot make it smaller
    photo.write_bytes(bytes(LARGER_THAN_THE_BUFFERS))
    page = Page(firefox, line(LARGER_THAN_THE_BUFFERS / 5).url).open().ready()
    firefox.execute_script(DETAILS)
    page.choose([photo])
    page.settled(1)
    said = [one.split()[1] for one in firefox.execute_script("return window.details") if one.startswith("Sending")]
    assert any(0 < float(one) < 100 for one in said), said
    firefox.get("about:blank")


LARGER_THAN_THE_BUFFERS = 12_000_000
"""Bytes. What the system takes in at once looks to the browser as if it had been sent."""

DETAILS = """
    window.details = [];
    new MutationObserver(() => details.push(document.querySelector('.tile .detail')?.textContent ?? ''))
        .observe(document.getElementById('tiles'), {subtree: true, childList: true});
"""

SENT = """
    const photo = document.querySelector('.tile[data-sending] .photo');
    return photo && parseFloat(getComputedStyle(photo, '::after').width) / photo.clientWidth;
"""


def test_a_browser_without_an_estimate_measures_the_line_with_the_first_photo(
    firefox: Firefox, line: Callable[..., Line], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for path in paths:
        Image.effect_noise((250, 250), 90).save(path, quality=98)
    page = Page(firefox, line(PHONE_LINE).url).open().ready()
    firefox.execute_script(AT_ONCE)
    page.choose(paths)
    assert {tile.state for tile in page.settled(len(paths)).values()} == {"done"}
    assert firefox.execute_script("return window.atOnce") == 1
    firefox.get("about:blank")


AT_ONCE = """
    window.atOnce = 0;
    new MutationObserver(() => {
        window.atOnce = Math.max(window.atOnce, document.querySelectorAll('.tile[data-state="working"]').length);
    }).observe(document.getElementById('tiles'), {subtree: true, childList: true, attributeFilter: ['data-state']});
"""
