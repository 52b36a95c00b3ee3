"""The screens that the page is tested on, and what can be measured on each."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from testing.browser import Browser, Scheme


@dataclass(frozen=True)
class Screen:
    """A screen, and whether its owner prefers light or dark pages.

    Attributes:
        width: In CSS pixels.
        height: In CSS pixels.
        scheme: What its owner prefers.
        phone: Whether it is touched, not pointed at with a mouse.
    """

    width: int
    height: int
    scheme: Scheme
    phone: bool

    def __str__(self) -> str:
        return f"{'phone' if self.phone else 'desk'}-{self.scheme}"

    def show(self, browser: Browser) -> None:
        """Give a browser this screen."""
        browser.screen(self.width, self.height, phone=self.phone)
        browser.prefers(self.scheme)


DESK = Screen(1440, 900, "light", phone=False)

SCREENS = (
    DESK,
    Screen(1440, 900, "dark", phone=False),
    Screen(390, 844, "light", phone=True),
    Screen(390, 844, "dark", phone=True),
)

everywhere = pytest.mark.parametrize("screen", SCREENS, ids=str, indirect=True)
"""Runs a test on each screen, and so in all eight combinations with the browsers; others run on `DESK`."""
