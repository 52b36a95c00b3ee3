"""Classify photos with a running gateway."""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from trainer.errors import GatewayUnavailableError, TrainerError
from trainer.prediction.pipeline import content, in_order, read_in_order
from trainer.prediction.records import Failure, Record
from trainer.prediction.sources import Photo

BATCH_SIZE = 16
BATCH_BYTES = 32 * 2**20
"""A quarter of the body that a gateway accepts by default; a gateway that accepts less gets smaller batches."""

REQUESTS = 4
"""Requests at a time: while one is answered, others are uploaded and decoded."""

TIMEOUT_SECONDS = 120.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts if the gateway does not name a time; the pause doubles each time."""

MAX_NAMED_PAUSE = 3600.0
"""Longest pause in seconds that the gateway can ask for."""

Sent = Sequence[tuple[str, bytes]]
Answers = list[Record | None]


class RemoteModel:
    """A model behind a gateway. Answers of several versions mix if the gateway changes versions meanwhile.

    Args:
        url: Address of the gateway.
        model: `NAME`, `NAME/VERSION` or `NAME/LABEL`.
        top_k: Number of labels to return.
        key: API key, if the gateway wants one.
        patience: Seconds for which a request is repeated before the run ends.

    Attributes:
        detail: What the gateway says of the model, as `/api/v1/models/NAME` returns it.

    Raises:
        TrainerError: The gateway cannot be reached, refuses the key, or does not have the model.
    """

    version: int | None = None

    def __init__(self, url: str, model: str, top_k: int, key: str | None, patience: float) -> None:
        self.name, _, selector = model.partition("/")
        self._selector = {"version" if selector.isdecimal() else "version_label": selector} if selector else {}
        self._url, self._patience = url.rstrip("/"), patience
        self._stopped = threading.Event()
        try:
            self._client = httpx.Client(
                base_url=self._url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise TrainerError(f"{url} is not the address of a gateway: {error}") from error
        try:
            detail = self._request("GET", f"/api/v1/models/{self.name}", self._selector)
        except httpx.UnsupportedProtocol as error:
            self.close()
            raise TrainerError(f"{url} is not the address of a gateway: {error}") from error
        except BaseException:
            self.close()
            raise
        self.detail = detail
        labels = detail.get("labels")
        self.top_k = min(top_k, len(labels)) if isinstance(labels, list) and labels else top_k
        self.multi_label = detail.get("multi_label") is True

    def answers(self, photos: Iterable[Photo]) -> Iterator[Record]:
        """Yields one record for each photo, in order. A few requests are in progress at the same time.

        Raises:
            GatewayUnavailableError: The gateway does not answer for longer than `patience`.
            TrainerError: The gateway refuses a request.
        """
        stopped = self._stopped = threading.Event()
        with ThreadPoolExecutor(REQUESTS) as pool:
            try:
                for records in in_order(pool, self._answer, _batches(photos), REQUESTS + 1):
                    yield from records
            finally:
                stopped.set()  # requests that wait for their next attempt end at once

    def close(self) -> None:
        """Closes the connections; requests that wait for their next attempt end at once."""
        self._stopped.set()
        self._client.close()

    def _answer(self, batch: list[tuple[str, bytes | Failure]]) -> list[Record]:
        sent = [(name, data) for name, data in batch if isinstance(data, bytes)]
        answered = iter(self._classified(sent) if sent else ())
        return [Record(name, failure=one) if isinstance(one, Failure) else next(answered) for name, one in batch]

    def _classified(self, sent: Sent) -> list[Record]:
        """The records of a batch. Photos that the gateway wants again are sent again, in the same way as a request."""
        answers: Answers = [None] * len(sent)
        waiting = list(range(len(sent)))
        attempts = _Attempts(self._patience, self._stopped)
        while waiting:
            records = self._post([sent[at] for at in waiting], attempts)
            for at, record in zip(waiting, records, strict=True):
                answers[at] = record
            waiting = [at for at in waiting if answers[at] is None]
            if waiting:
                attempts.pause(f"{self._url} has no answer for {sent[waiting[0]][0]}", None)
        return [one for one in answers if one is not None]

    def _post(self, sent: Sent, attempts: "_Attempts") -> Answers:
        """A record for each photo, or None if it should be sent again."""
        files = [("images", (str(at), data, "application/octet-stream")) for at, (_, data) in enumerate(sent)]
        try:
            answer = self._request(
                "POST",
                f"/api/v1/models/{self.name}/predict_batch",
                {**self._selector, "top_k": str(self.top_k)},
                files,
                attempts,
            )
        except _TooLarge as error:
            if len(sent) == 1:
                return [Record(sent[0][0], failure=error.failure)]
            half = len(sent) // 2
            return self._post(sent[:half], attempts) + self._post(sent[half:], attempts)
        results, model = answer.get("results"), answer.get("model")
        if not isinstance(results, list) or len(results) != len(sent) or not isinstance(model, dict):
            raise TrainerError(f"{self._url} is not a gateway: its answer has no results")
        records = [_record(name, result, model) for (name, _), result in zip(sent, results, strict=True)]
        if any(records):
            attempts.succeeded()
        return records

    def _request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        files: Any = None,
        attempts: "_Attempts | None" = None,
    ) -> dict[str, Any]:
        attempts = attempts or _Attempts(self._patience, self._stopped)
        while True:
            try:
                response = self._client.request(method, path, params=parameters, files=files)
            except httpx.UnsupportedProtocol:
                raise
            except httpx.TransportError as error:
                attempts.pause(f"{self._url} cannot be reached: {error or type(error).__name__}", None)
                continue
            problem = _object(response)
            if response.status_code == httpx.codes.OK:
                return problem
            detail = str(problem.get("detail") or f"status {response.status_code}")
            if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE and files:
                raise _TooLarge(Failure(str(problem.get("code") or "upload_too_large"), detail))
            # A proxy in between does not say whether a retry can help.
            if not problem.get("retryable", response.status_code in (429, 502, 503, 504)):
                raise TrainerError(f"{self._url} refuses the request: {detail}")
            attempts.pause(f"{self._url} answers: {detail}", response.headers.get("Retry-After"))


class _TooLarge(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Attempts:
    """Pauses between the attempts of a request, and ends them."""

    def __init__(self, patience: float, stopped: threading.Event) -> None:
        self._patience, self._stopped = patience, stopped
        self.succeeded()

    def succeeded(self) -> None:
        self._since: float | None = None
        self._next = FIRST_PAUSE

    def pause(self, reason: str, retry_after: str | None) -> None:
        """Waits before the next attempt.

        Raises:
            GatewayUnavailableError: There have been attempts for longer than `patience`, or the run has ended.
        """
        now = time.monotonic()
        self._since = self._since or now
        if self._stopped.is_set() or now - self._since >= self._patience:
            raise GatewayUnavailableError(f"{reason}; gave up after {now - self._since:.0f} s")
        delay = _seconds(retry_after)
        pause = self._next * random.uniform(0.5, 1.0) if delay is None else delay  # noqa: S311, spreads the load
        self._next = min(2 * self._next, LONGEST_PAUSE)
        # One more attempt at the end of the patience; a pause that the gateway asks for is kept.
        self._stopped.wait(pause if delay is not None else min(pause, self._since + self._patience - now))


def _seconds(retry_after: str | None) -> float | None:
    """The pause of a header Retry-After, which is a number of seconds or a date (RFC 9110, section 10.2.3)."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), MAX_NAMED_PAUSE) if seconds == seconds else None


def _batches(photos: Iterable[Photo]) -> Iterator[list[tuple[str, bytes | Failure]]]:
    batch: list[tuple[str, bytes | Failure]] = []
    size = 0
    for photo in read_in_order(photos):
        data = content(photo)
        length = len(data) if isinstance(data, bytes) else 0
        if batch and (len(batch) == BATCH_SIZE or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((photo.name, data))
        size += length
    if batch:
        yield batch


def _record(name: str, result: Mapping[str, Any], model: Mapping[str, Any]) -> Record | None:
    """The record of an item in the answer to a batch; None if it should be sent again."""
    error = result.get("error")
    if error:
        return None if error.get("retryable") else Record(name, failure=Failure(error["code"], error["detail"]))
    return Record(
        file=name,
        predictions=tuple((one["label"], one["score"]) for one in result["predictions"]),
        unknown=result["label"] is None,
        looks_like=result["looks_like"],
        model=model["name"],
        version=model["version"],
        labels=tuple(result["labels"]) if "labels" in result else None,
        confidence=result["confidence"],
    )


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
