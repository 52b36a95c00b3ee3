"""Downloads with a timeout, so that commands do not hang without a network."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

CONNECT_SECONDS = 20.0
"""Time limit until the start of the response, including name resolution and all addresses."""

STALL_SECONDS = 20.0
"""Time limit for a pause within the response."""


@contextmanager
def downloads_with_timeout() -> Iterator[None]:
    """Makes `urllib.request`, which Keras uses, raise TimeoutError instead of waiting forever."""
    before = getattr(urllib.request, "_opener", None)  # None until its first use
    opener = before or urllib.request.build_opener()
    urllib.request.install_opener(_OpenerWithTimeout(opener))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


class _OpenerWithTimeout(urllib.request.OpenerDirector):
    def __init__(self, opener: urllib.request.OpenerDirector) -> None:
        super().__init__()
        self._opener = opener

    def open(
        self, fullurl: str | urllib.request.Request, data: object = None, timeout: float | None = None
    ) -> HTTPResponse:
        del timeout
        answers: list[HTTPResponse] = []
        errors: list[Exception] = []

        def ask() -> None:
            try:
                answers.append(self._opener.open(fullurl, data, STALL_SECONDS))  # type: ignore[arg-type]
            except Exception as error:
                errors.append(error)

        # In a thread, because the timeout of a socket covers neither name resolution nor several addresses.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(CONNECT_SECONDS)
        if errors:
            raise errors[0]
        if not answers:
            raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
        return answers[0]
