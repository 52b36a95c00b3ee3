"""All kinds of trouble at once, while honest callers check every answer; `python -m testing.faults` goes further."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.faults.hostile import corrupt_files, hang_ups, png, posted, slow_uploads
from testing.faults.load import Load
from testing.polling import until_async

Start = Callable[..., httpx.Client]


async def test_honest_callers_notice_nothing_of_the_others(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Less than by default, but longer than any pause of a busy machine.
    monkeypatch.setattr("gateway.http.middleware.body_limits.RATE_GRACE_SECONDS", 3.0)
    client = await asyncio.to_thread(start, request_timeout_seconds=30)
    url = str(client.base_url)
    load = Load(url, callers=2)
    async with load.running():
        await until_async(lambda: load.statuses()[200] > 10)
        model_server.models["colours"] = {2: ColourModel(("blue", "red", "green"), 12, 12)}
        corrupt, gone, small, slow = await asyncio.gather(
            posted(url, corrupt_files(80), 4),
            hang_ups(url, 20),
            posted(url, [png(30_000, 30_000)], 1),
            slow_uploads(url, 30),
        )
        answers_before = len(load.answers)
        await until_async(lambda: len(load.answers) > answers_before + 10)
    assert set(load.statuses()) == {200}
    assert load.wrong() == 0
    assert {answer.version for answer in load.answers} == {1, 2}
    assert set(corrupt) <= {200, 400, 415, 422}
    assert (set(small), set(slow)) == ({422}, {408})
    assert set(gone) <= {0, 200}
