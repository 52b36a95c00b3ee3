"""A real Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

from testing.browser import Browser, Scheme
from testing.polling import DEADLINE_SECONDS

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium has none for root, and tests may run in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # No other address can be reached: what the page needs it gets from the gateway.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Chromium(webdriver.Chrome, Browser):
    """Chromium with its driver."""

    _features: dict[str, str] = {}  # noqa: RUF012 - replaced, never changed

    def screen(self, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
        """Give it a screen of that size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": pixel_ratio, "mobile": phone}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})

    def prefers(self, scheme: Scheme, *, motion: bool = False, forced_colours: bool = False) -> None:
        """Have the person prefer light or dark pages, with or without motion, or a few colours of the system only."""
        self._features = {
            "prefers-color-scheme": scheme,
            "prefers-reduced-motion": "no-preference" if motion else "reduce",
            "forced-colors": "active" if forced_colours else "none",
        }
        self.print_view(on=False)

    def print_view(self, *, on: bool) -> None:
        """Show pages as they are printed."""
        features = [{"name": name, "value": value} for name, value in self._features.items()]
        media = {"media": "print" if on else "", "features": features}
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def reads(self, language: str) -> None:
        """Have the person read this language, from the next page on."""
        agent = self.execute_cdp_cmd("Browser.getVersion", {})["userAgent"]
        self.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})

    def scripts(self, *, on: bool) -> None:
        """Have pages run scripts, from the next page on."""
        self.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not on})

    def saves_in(self, folder: Path) -> None:
        """Save downloads in a folder."""
        where = {"behavior": "allow", "downloadPath": str(folder)}
        self.execute_cdp_cmd("Browser.setDownloadBehavior", where)

    def choose_folder(self, field: WebElement, folder: Path) -> None:
        """Choose a folder for a field, as in the dialog of the system."""
        field.send_keys(str(folder))

    def drop(self, *paths: Path) -> None:
        """Drop files and folders on the page, as the desktop would."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 300, "y": 300, "data": data}
            self.execute_cdp_cmd("Input.dispatchDragEvent", event)

    def mistakes(self) -> list[str]:
        """What the console says of mistakes since the last call."""
        entries: list[dict[str, str]] = self.get_log("browser")  # type: ignore[no-untyped-call]
        return [one["message"] for one in entries if one["level"] == "SEVERE" and one["source"] != "network"]


def missing() -> str:
    """Why there can be no Chromium on this machine; empty where there can."""
    return "" if _programs() else "needs Chromium and its driver: apt-get install chromium chromium-driver"


@contextmanager
def running_chromium() -> Iterator[Chromium]:
    """A Chromium with an empty profile, of a person who reads English.

    Raises:
        FileNotFoundError: There is none on this machine.
    """
    programs = _programs()
    if programs is None:
        raise FileNotFoundError(missing())
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = programs[0]
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--accept-lang=en"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.set_capability("unhandledPromptBehavior", "accept")
        browser = Chromium(options, Service(programs[1]))
        browser.set_script_timeout(DEADLINE_SECONDS)
        try:
            yield browser
        finally:
            browser.quit()


def _programs() -> tuple[str, str] | None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None
