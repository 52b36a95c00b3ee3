"""Callers of a gateway, whose answers people judge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from testing.gateway import NO_AUTHORITIES
from testing.photos import photo


class Callers:
    """Callers who send photos one after the other, and say whether an answer was right."""

    def __init__(self, client: httpx.Client, wrong_version: int | None) -> None:
        self._client, self._wrong_version = client, wrong_version
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(3)]
        self.failed = 0

    def _send(self) -> None:
        with httpx.Client(base_url=self._client.base_url, timeout=60, verify=NO_AUTHORITIES) as client:
            while not self._stop.is_set():
                answer = client.post("/api/v1/predict_breed", content=photo("red"))
                if answer.status_code != 200:
                    self.failed += 1
                elif self._wrong_version is not None:
                    version = answer.json()["model"]["version"]
                    feedback: dict[str, object] = {"request_id": answer.headers["x-request-id"], "version": version}
                    wrong = version == self._wrong_version
                    feedback |= {"verdict": "wrong", "label": "green"} if wrong else {"verdict": "right"}
                    client.post("/api/v1/feedback", json=feedback)

    @contextmanager
    def sending(self) -> Iterator[Callers]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def url(client: httpx.Client) -> str:
    return str(client.base_url)
