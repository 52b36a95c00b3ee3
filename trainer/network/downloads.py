"""Downloads that give up: without a network, or on one that drops packets, a command says so instead of hanging."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

CONNECT_SECONDS = 20.0
"""How long it may take until an answer begins, the search for the name and all addresses of it included."""

STALL_SECONDS = 20.0
"""How long an answer that has begun may pause."""


@contextmanager
def impatient_downloads() -> Iterator[None]:
    """Has `urllib.request`, by which Keras fetches too, raise TimeoutError where it would wait for ever."""
    before = getattr(urllib.request, "_opener", None)  # None: the first who asks makes one
    opener = before or urllib.request.build_opener()
    urllib.request.install_opener(_Impatient(opener))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


class _Impatient(urllib.request.OpenerDirector):
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

        # In a thread: a socket's timeout covers neither the search for the name nor more than one address at a time.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(CONNECT_SECONDS)
        if errors:
            raise errors[0]
        if not answers:
            raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
        return answers[0]
