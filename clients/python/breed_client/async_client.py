"""The client for programs with asyncio."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from breed_client.answers import Classification, Result, answer_of, classification_of, results_of
from breed_client.client import http_options, request_options
from breed_client.errors import ApiError
from breed_client.photos import Call, Photo, batch_call, batches, classify_call, photos_in
from breed_client.retries import Retries


class AsyncClient:
    """Like `Client`, with the same arguments; files are read in a thread."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._model = model
        self._retries = retries or Retries()
        self._http = httpx.AsyncClient(**http_options(base_url, api_key, timeout), transport=transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self, photo: Photo, *, top_k: int | None = None, version: int | None = None, version_label: str | None = None
    ) -> Classification:
        """Classify one photo; see `Client.classify`."""
        call = await asyncio.to_thread(classify_call, photo, self._model, top_k, version, version_label)
        answer = await self._send(call)
        return classification_of(answer, answer["model"])

    async def classify_batch(
        self,
        photos: Sequence[Photo],
        *,
        top_k: int | None = None,
        version: int | None = None,
        version_label: str | None = None,
    ) -> Sequence[Result]:
        """Classify several photos with one request; see `Client.classify_batch`."""
        call = await asyncio.to_thread(batch_call, photos, self._model, top_k, version, version_label)
        return results_of(await self._send(call))

    async def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int = 16,
        concurrency: int = 2,
        top_k: int | None = None,
        version: int | None = None,
        version_label: str | None = None,
    ) -> AsyncIterator[tuple[Path, Result]]:
        """Classify all photos in a folder and its subfolders; see `Client.classify_folder`.

        Args:
            folder: The folder.
            batch_size: Photos in one request.
            concurrency: Requests at a time.
            top_k: As in `classify`, as are the others.
            version: Version of the model.
            version_label: Label of the version.

        Yields:
            Each path with its classification or its error, in the order of the paths.
        """
        waiting: deque[tuple[Sequence[Path], asyncio.Task[Sequence[Result]]]] = deque()
        try:
            for paths in batches(await asyncio.to_thread(photos_in, folder), batch_size):
                call = self.classify_batch(paths, top_k=top_k, version=version, version_label=version_label)
                waiting.append((paths, asyncio.create_task(call)))
                if len(waiting) == concurrency:
                    done, task = waiting.popleft()
                    for one in zip(done, await task, strict=True):
                        yield one
            while waiting:
                done, task = waiting.popleft()
                for one in zip(done, await task, strict=True):
                    yield one
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def models(self) -> Sequence[dict[str, Any]]:
        """The configured models; see `Client.models`."""
        models: Sequence[dict[str, Any]] = (await self._send(Call("GET", "/api/v1/models")))["models"]
        return models

    async def is_ready(self) -> bool:
        """Whether every configured model is ready; see `Client.is_ready`."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def _send(self, call: Call) -> dict[str, Any]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return answer_of(await self._http.request(**request_options(call)))
            except (httpx.TransportError, ApiError) as error:
                wait = self._retries.wait_after(attempt, error)
            await asyncio.sleep(wait)
