"""What a test needs of a browser, beside the commands that Selenium has for each."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Literal

from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

Scheme = Literal["light", "dark"]


class Browser(WebDriver):
    """A real browser without a window."""

    @abstractmethod
    def screen(self, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
        """Give it a screen of that size, in CSS pixels; a phone's is touched."""

    @abstractmethod
    def prefers(self, scheme: Scheme, *, motion: bool = False, forced_colours: bool = False) -> None:
        """Have the person prefer light or dark pages, with or without motion, or a few colours of the system only."""

    @abstractmethod
    def print_view(self, *, on: bool) -> None:
        """Show pages as they are printed."""

    @abstractmethod
    def reads(self, language: str) -> None:
        """Have the person read this language, from the next page on."""

    @abstractmethod
    def scripts(self, *, on: bool) -> None:
        """Have pages run scripts, from the next page on."""

    @abstractmethod
    def saves_in(self, folder: Path) -> None:
        """Save downloads in a folder."""

    @abstractmethod
    def choose_folder(self, field: WebElement, folder: Path) -> None:
        """Choose a folder for a field, as in the dialog of the system."""

    @abstractmethod
    def mistakes(self) -> list[str]:
        """What the console says of mistakes since the last call: errors, and what the security policy refused.

        Answers of 4xx and 5xx are left out: what a page makes of them is seen in the page.
        """
