"""The client for programs without asyncio."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from breed_client.answers import Classification, Result, answer_of, classification_of, results_of
from breed_client.errors import ApiError
from breed_client.photos import Call, Photo, batch_call, batches, classify_call, photos_in
from breed_client.retries import Retries


def http_options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """Options of an httpx client."""
    return {
        "base_url": base_url,
        "headers": {"X-API-Key": api_key} if api_key is not None else {},
        "timeout": httpx.Timeout(timeout, connect=min(timeout, 10.0)),
    }


def request_options(call: Call) -> dict[str, Any]:
    """Arguments of `httpx.Client.request`."""
    headers = {"Content-Type": "application/octet-stream"} if call.content is not None else None
    return {
        "method": call.method,
        "url": call.path,
        "params": call.parameters,
        "content": call.content,
        "files": call.files,
        "headers": headers,
    }


class Client:
    """A client of one gateway. Use it as a context manager, or call `close`. Threads may share it.

    Args:
        base_url: Address of the gateway, such as ``http://localhost:8000``.
        model: Name of the model; None for the default model of the gateway.
        api_key: API key.
        timeout: Seconds that one attempt may take.
        retries: When a request is repeated.
        transport: A transport of httpx in place of the usual one, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._model = model
        self._retries = retries or Retries()
        self._http = httpx.Client(**http_options(base_url, api_key, timeout), transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self, photo: Photo, *, top_k: int | None = None, version: int | None = None, version_label: str | None = None
    ) -> Classification:
        """Classify one photo.

        Args:
            photo: A path, bytes or an open binary file.
            top_k: Number of predictions; None for the default of the gateway.
            version: Version of the model; None for the newest.
            version_label: Label of the version, in place of a number.

        Raises:
            ApiError: The gateway refused the photo, or failed.
            ConnectionFailed: No answer arrived.
            OSError: The file cannot be read.
        """
        answer = self._send(classify_call(photo, self._model, top_k, version, version_label))
        return classification_of(answer, answer["model"])

    def classify_batch(
        self,
        photos: Sequence[Photo],
        *,
        top_k: int | None = None,
        version: int | None = None,
        version_label: str | None = None,
    ) -> Sequence[Result]:
        """Classify several photos with one request; 64 of them at most by default.

        Returns:
            A classification or an error for each photo, in their order.

        Raises:
            ApiError, ConnectionFailed, OSError: As `classify`, for what concerns all photos.
        """
        return results_of(self._send(batch_call(photos, self._model, top_k, version, version_label)))

    def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int = 16,
        top_k: int | None = None,
        version: int | None = None,
        version_label: str | None = None,
    ) -> Iterator[tuple[Path, Result]]:
        """Classify all photos in a folder and its subfolders, in the order of their paths.

        Args:
            folder: The folder.
            batch_size: Photos in one request.
            top_k: As in `classify`, as are the others.
            version: Version of the model.
            version_label: Label of the version.

        Yields:
            Each path with its classification or its error.

        Raises:
            ApiError, ConnectionFailed, OSError: As `classify`, for what concerns all photos of a request.
        """
        for paths in batches(photos_in(folder), batch_size):
            results = self.classify_batch(paths, top_k=top_k, version=version, version_label=version_label)
            yield from zip(paths, results, strict=True)

    def models(self) -> Sequence[dict[str, Any]]:
        """The configured models, as ``/api/v1/models`` describes them. Raises as `classify` does."""
        models: Sequence[dict[str, Any]] = self._send(Call("GET", "/api/v1/models"))["models"]
        return models

    def is_ready(self) -> bool:
        """Whether every configured model is ready. It is asked once, without retries."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _send(self, call: Call) -> dict[str, Any]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return answer_of(self._http.request(**request_options(call)))
            except (httpx.TransportError, ApiError) as error:
                wait = self._retries.wait_after(attempt, error)
            time.sleep(wait)
