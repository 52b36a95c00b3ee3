"""The page as an app: installed, given photos by other apps, and with a history that is kept on the device."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import httpx
from PIL import Image
from selenium.webdriver.common.by import By

from testing.chromium import Chromium
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]


def test_it_can_be_installed(chromium: Chromium, page: Page, gateway: httpx.Client) -> None:
    page.ready()
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "link[rel=manifest]"))
    manifest = chromium.execute_cdp_cmd("Page.getAppManifest", {})
    assert not manifest["errors"]
    assert not chromium.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"]
    address = httpx.URL(manifest["url"])
    for icon in gateway.get(address.path).json()["icons"]:
        answer = gateway.get(address.join(icon["src"]).path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            side = Image.open(io.BytesIO(answer.content)).width
            assert icon["sizes"] == f"{side}x{side}"


@everywhere
def test_its_manifest_has_icons_and_takes_photos_from_other_apps(page: Page, gateway: httpx.Client) -> None:
    page.ready()
    link = eventually(lambda: page.one("link[rel=manifest]"))
    address = httpx.URL(str(link.get_attribute("href")))
    manifest = gateway.get(address.path).json()
    assert manifest["display"] == "standalone"
    assert gateway.get(manifest["start_url"]).status_code == 200
    assert manifest["share_target"]["method"] == "POST"
    sizes = set()
    for icon in manifest["icons"]:
        width = page.browser.execute_async_script(ICON, str(address.join(icon["src"])))
        assert width > 0, "the browser can show it"
        sizes.add(icon["sizes"])
    assert {"192x192", "512x512"} <= sizes


ICON = """
    const [address, done] = arguments, icon = new Image();
    icon.onload = () => done(icon.naturalWidth);
    icon.onerror = () => done(0);
    icon.src = address;
"""


@everywhere
def test_photos_that_another_app_shares_are_answered(page: Page) -> None:
    page.ready()
    ready = "navigator.serviceWorker?.controller && navigator.serviceWorker.controller.state === 'activated'"
    eventually(lambda: page.browser.execute_script(f"return {ready}"))
    page.browser.execute_async_script(
        """const done = arguments[0], canvas = new OffscreenCanvas(20, 20), context = canvas.getContext('2d');
        context.fillStyle = '#00f';
        context.fillRect(0, 0, 20, 20);
        canvas.convertToBlob({type: 'image/png'}).then(async (blob) => {
            const form = new FormData();
            form.append('photos', new File([blob], 'blue dog.png', {type: blob.type}));
            const answer = await fetch('/share', {method: 'POST', body: form, redirect: 'manual'});
            done(answer.type);
        });"""
    )
    page.browser.get(f"{page.url}?shared")  # where the system is sent to
    assert page.settled(1)["blue dog.png"].heading == "blue"
    assert page.browser.execute_script("return location.search") == ""
    page.open()
    page.ready()
    assert not page.tiles()  # each only once
    page.browser.execute_async_script(
        """const done = arguments[0];
        navigator.serviceWorker.getRegistrations()
            .then(all => Promise.all(all.map(one => one.unregister()))).then(done);"""
    )


@everywhere
def test_a_history_is_kept_only_when_asked_for_and_can_be_deleted(page: Page, files: Files, screen: Screen) -> None:
    def kept() -> list[str]:
        return [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, "#past-list strong")]

    page.choose(files("red"))
    page.settled(1)
    page.open()
    assert not page.shown("#past")
    assert page.browser.execute_script("return localStorage.length") == 0
    page.touch("#keep-history")
    eventually(lambda: page.browser.execute_script("return localStorage.length"))
    page.choose(files("blue", "green"))
    page.settled(2)
    eventually(lambda: page.browser.execute_script("return JSON.parse(localStorage.history).length") == 2)
    page.open()
    eventually(lambda: sorted(kept()) == ["blue", "green"])
    assert page.shown("#past")
    picture = "return document.querySelector('#past-list img').naturalWidth"
    eventually(lambda: page.browser.execute_script(picture) > 0)
    left, _, right, _ = page.box("#past-list")
    assert 0 <= left < right <= screen.width
    page.touch("#delete-history")
    eventually(lambda: page.message() == "History deleted.")
    assert not page.shown("#past")
    assert not page.one("#keep-history").is_selected()
    assert page.browser.execute_script("return localStorage.length") == 0


def test_a_link_opens_the_list_of_what_a_model_knows(page: Page) -> None:
    page.browser.get("about:blank")
    page.browser.get(f"{page.url}#known")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".known[open]"))
