"""How much work is taken on: permits that refuse at once instead of a queue that grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded


class Admission:
    """Permits for images in work, from the moment their bytes are complete until the answer.

    Args:
        max_images: Permits there are.
    """

    def __init__(self, max_images: int) -> None:
        self.max_images = max_images
        self.in_flight = 0
        """Images in work now."""

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold permits for that many images.

        Raises:
            Overloaded: There are not as many left.
        """
        if self.in_flight + images > self.max_images:
            raise Overloaded("The gateway has all the work that it can do at the moment.")
        self.in_flight += images
        try:
            yield
        finally:
            self.in_flight -= images
