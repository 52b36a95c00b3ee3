"""A real Firefox without a window."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.remote.file_detector import UselessFileDetector

from testing.browser import Browser, Scheme
from testing.marionette import MarionetteConnection
from testing.polling import DEADLINE_SECONDS, until

FINE, COARSE = 6, 1
"""Firefox's words for a mouse, which is exact and hovers, and for a finger."""

PREFERENCES: Final = {
    "marionette.port": 0,  # any free one
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "app.normandy.enabled": False,
    "nimbus.rollouts.enabled": False,
    # No other address can be reached: what the page needs it gets from the gateway.
    "network.proxy.type": 1,
    "network.proxy.socks": "127.0.0.1",
    "network.proxy.socks_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1",
}

FLAGS = ("--headless", "--no-remote", "--marionette", "--remote-debugging-port=0", "--remote-allow-system-access")

READ_CONSOLE = """
    const messages = Services.console.getMessageArray();
    Services.console.reset();
    return messages
        .filter(one => one instanceof Ci.nsIScriptError && !(one.flags & Ci.nsIScriptError.warningFlag))
        .filter(one => /^http:\\/\\/127/.test(one.sourceName))
        .map(one => `${one.sourceName}:${one.lineNumber} ${one.errorMessage}`);
"""


class Firefox(Browser):
    """Firefox, spoken to without a driver in between."""

    def screen(self, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
        """Give it a screen of that size."""
        pointers = COARSE if phone else FINE
        self._set({"ui.primaryPointerCapabilities": pointers, "ui.allPointerCapabilities": pointers})
        [tab] = self.browsing_context.get_tree()
        self.browsing_context.set_viewport(
            context=tab.context, viewport={"width": width, "height": height}, device_pixel_ratio=pixel_ratio
        )

    def prefers(self, scheme: Scheme, *, motion: bool = False) -> None:
        """Have the person prefer light or dark pages, with or without motion."""
        dark = scheme == "dark"
        self._set({"layout.css.prefers-color-scheme.content-override": 0 if dark else 1})
        self._set({"ui.prefersReducedMotion": 0 if motion else 1})

    def mistakes(self) -> list[str]:
        """What the console says of mistakes since the last call."""
        found: list[str] = self._in_chrome(READ_CONSOLE)
        return found

    def _set(self, preferences: dict[str, int]) -> None:
        self._in_chrome(
            "for (const [name, value] of Object.entries(arguments[0])) Services.prefs.setIntPref(name, value)",
            preferences,
        )

    def _in_chrome(self, script: str, *arguments: object) -> Any:
        """Run a script with the rights of the browser itself."""
        self.execute("chromeContext", {"value": "chrome"})
        try:
            return self.execute_script(script, *arguments)
        finally:
            self.execute("chromeContext", {"value": "content"})


def missing() -> str:
    """Why there can be no Firefox on this machine; empty where there can."""
    return "" if _program() else "needs Firefox: apt-get install firefox-esr"


@contextmanager
def running_firefox(language: str = "en") -> Iterator[Firefox]:
    """A Firefox with an empty profile, of a person who reads this language.

    Raises:
        FileNotFoundError: There is none on this machine.
    """
    program = _program()
    if program is None:
        raise FileNotFoundError(missing())
    with TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        preferences = {**PREFERENCES, "intl.accept_languages": language}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(lines))
        with (
            (profile / "log").open("wb") as log,
            subprocess.Popen([program, *FLAGS, "--profile", folder], stdout=log, stderr=log) as process,
        ):
            try:
                port = until(lambda: _port(profile, process), "Firefox listens")
                options = webdriver.FirefoxOptions()
                options.set_capability("unhandledPromptBehavior", "accept")
                connection = MarionetteConnection(port, DEADLINE_SECONDS)
                browser = Firefox(connection, options=options, file_detector=UselessFileDetector())
                browser.set_script_timeout(DEADLINE_SECONDS)
                yield browser
                browser.quit()
            finally:
                process.terminate()


def _program() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    if process.poll() is not None:
        raise RuntimeError(f"Firefox ended: {(profile / 'log').read_text(errors='replace')[-2000:]}")
    with suppress(FileNotFoundError, ValueError):
        return int((profile / "MarionetteActivePort").read_text())
    return 0
