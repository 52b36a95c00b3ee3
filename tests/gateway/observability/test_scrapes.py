"""Scrapes share what is written, whoever of them goes away."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.observability import scrapes
from gateway.observability.metrics import Metrics
from gateway.observability.scrapes import Scrapes
from testing.polling import DEADLINE_SECONDS, until_async


async def test_scrapes_that_are_cancelled_do_not_let_others_write_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scrapes, "REST", 0.0)
    may_end, counting = threading.Event(), threading.Lock()
    running: list[int] = []
    most = 0
    exposition = Metrics.exposition

    def blocking(metrics: Metrics, accept: str) -> tuple[bytes, str]:
        nonlocal most
        with counting:
            running.append(1)
            most = max(most, len(running))
        assert may_end.wait(DEADLINE_SECONDS)
        with counting:
            running.pop()
        return exposition(metrics, accept)

    monkeypatch.setattr(Metrics, "exposition", blocking)
    shared = Scrapes(Metrics())
    for _ in range(5):
        gone = asyncio.create_task(shared.answer(""))
        await until_async(lambda: running)
        await asyncio.wait({gone}, timeout=0.02)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert gone.cancelled()
    last = asyncio.create_task(shared.answer(""))
    await asyncio.wait({last}, timeout=0.02)
    may_end.set()
    assert b"gateway_" in (await last)[0]
    assert most == 1


async def test_the_rest_after_metrics_that_take_long_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes, "REST", 1e9)
    monkeypatch.setattr(scrapes, "MAX_REST_SECONDS", 0.05)
    shared = Scrapes(Metrics())
    for _ in range(3):
        content, _ = await asyncio.wait_for(shared.answer(""), DEADLINE_SECONDS)
        assert b"gateway_" in content
