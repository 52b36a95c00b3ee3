"""What a test needs of a browser, beside the commands that Selenium has for each."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from selenium.webdriver.remote.webdriver import WebDriver

Scheme = Literal["light", "dark"]


class Browser(WebDriver):
    """A real browser without a window."""

    @abstractmethod
    def screen(self, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
        """Give it a screen of that size, in CSS pixels; a phone's is touched."""

    @abstractmethod
    def prefers(self, scheme: Scheme, *, motion: bool = False) -> None:
        """Have the person prefer light or dark pages, with or without motion."""

    @abstractmethod
    def mistakes(self) -> list[str]:
        """What the console says of mistakes since the last call: errors, and what the security policy refused.

        Answers of 4xx and 5xx are left out: what a page makes of them is seen in the page.
        """
