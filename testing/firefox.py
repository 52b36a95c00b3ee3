"""A real Firefox without a window."""

from __future__ import annotations

import base64
import json
import mimetypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.webelement import WebElement

from testing.browser import Browser, Scheme
from testing.marionette import MarionetteConnection
from testing.polling import DEADLINE_SECONDS, until

FINE, COARSE = 6, 1
"""Firefox's words for a mouse, which is exact and hovers, and for a finger."""

PREFERENCES: Final = {
    "intl.accept_languages": "en",
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

CHOOSE = """
    const [field, files] = arguments, chosen = new DataTransfer();
    for (const [name, type, base64] of files) {
        chosen.items.add(new File([Uint8Array.from(atob(base64), one => one.charCodeAt(0))], name, {type}));
    }
    field.files = chosen.files;
    field.dispatchEvent(new Event("change", {bubbles: true}));
"""


class Firefox(Browser):
    """Firefox, spoken to without a driver in between."""

    def screen(self, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
        """Give it a screen of that size."""
        pointers = COARSE if phone else FINE
        self._set({"ui.primaryPointerCapabilities": pointers, "ui.allPointerCapabilities": pointers})
        self._set({"ui.useOverlayScrollbars": 1 if phone else 0})
        self._override({"touchEventsOverride": "enabled" if phone else "none"})
        self.browsing_context.set_viewport(
            context=self._tab(), viewport={"width": width, "height": height}, device_pixel_ratio=pixel_ratio
        )

    def prefers(self, scheme: Scheme, *, motion: bool = False, forced_colours: bool = False) -> None:
        """Have the person prefer light or dark pages, with or without motion, or a few colours of the system only."""
        dark = scheme == "dark"
        self._set({"layout.css.prefers-color-scheme.content-override": 0 if dark else 1})
        self._set({"ui.prefersReducedMotion": 0 if motion else 1})
        self._override({"forcedColorsOverride": "active" if forced_colours else "none"})

    def print_view(self, *, on: bool) -> None:
        """Show pages as they are printed."""
        self._override({"mediumOverride": "print" if on else ""})

    def reads(self, language: str) -> None:
        """Have the person read this language, from the next page on."""
        self._in_chrome("Services.prefs.setCharPref('intl.accept_languages', arguments[0])", language)

    def scripts(self, *, on: bool) -> None:
        """Have pages run scripts, from the next page on."""
        self._override({"allowJavascript": on})

    def saves_in(self, folder: Path) -> None:
        """Save downloads in a folder."""
        self.browser.set_download_behavior(allowed=True, destination_folder=str(folder))

    def choose_folder(self, field: WebElement, folder: Path) -> None:
        """Choose a folder for a field: hands it the files, since Firefox lets nobody answer its dialog."""
        files = [
            (path.name, mimetypes.guess_type(path)[0] or "", base64.b64encode(path.read_bytes()).decode())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        self.execute_script(CHOOSE, field, files)

    def mistakes(self) -> list[str]:
        """What the console says of mistakes since the last call."""
        messages: list[str] = self._in_chrome(READ_CONSOLE)
        return messages

    def _tab(self) -> str:
        [tab] = self.browsing_context.get_tree()
        context: str = tab.context
        return context

    def _override(self, values: dict[str, str | bool]) -> None:
        """Set what developers' tools set, too, for the tab and all pages that it loads."""
        self._in_chrome("Object.assign(gBrowser.selectedBrowser.browsingContext, arguments[0])", values)

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
def running_firefox() -> Iterator[Firefox]:
    """A Firefox with an empty profile, of a person who reads English.

    Raises:
        FileNotFoundError: There is none on this machine.
    """
    program = _program()
    if program is None:
        raise FileNotFoundError(missing())
    with TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
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
