"""Decisions whose request is cancelled, or whose storage hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import PhotoNotFound, ReviewConflict
from gateway.prediction_log.records import Prediction, ReviewDecision, Score
from gateway.prediction_log.review import Review
from gateway.prediction_log.review_decisions import Decision, Decisions
from gateway.prediction_log.review_index import ReviewIndex
from gateway.prediction_log.review_photo import Filters
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.shipper import ship
from gateway.prediction_log.storage import Folder
from testing.photos import photo
from testing.polling import until, until_async
from tests.gateway.prediction_log.written import lines

DIGEST = "a" * 64


ANSWER = (
    Prediction(
        request_id="request",
        model="colours",
        version=1,
        label="red",
        scores=(Score(label="red", score=0.9),),
        digest=DIGEST,
        bytes=1000,
        milliseconds=5,
        photo="all",
    ).model_dump_json()
    + "\n"
)


@pytest.fixture
def answered(log: Path) -> Review:
    """The review of a log with one photo, `DIGEST`, which is open."""
    storage = Folder(log)
    (storage.spool / "2026-03-01").mkdir()
    (storage.spool / "2026-03-01" / "20260301T120000-host-1-0001.jsonl").write_text(ANSWER)
    photos = log / "photos" / "2026-03-01"
    photos.mkdir(parents=True)
    (photos / f"{DIGEST}.jpg").write_bytes(photo("red"))
    return Review(storage)


def decision(review: ReviewDecision, reviewer: str) -> Decision:
    return Decision(DIGEST, review, None, seen=0, reviewer=reviewer)


class Held:
    """A function that waits, after it was called, until it may go on."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.called, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.called.set()
        assert self.may_go_on.wait(60)
        return self._function(*arguments)


@pytest.fixture
def append(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Holds every write of a decision."""
    append = Held(Segments.append)
    monkeypatch.setattr(Segments, "append", lambda *arguments: append(*arguments))
    return append


async def cancelled_decision(review: Review, append: Held) -> None:
    """A decision by ann whose request is cancelled while it is being written."""
    first = asyncio.create_task(review.decide(decision("discarded", "ann")))
    await asyncio.to_thread(append.called.wait, 60)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


def test_a_request_that_is_cancelled_still_keeps_others_waiting_for_its_decision(
    answered: Review, append: Held
) -> None:
    async def race() -> None:
        await cancelled_decision(answered, append)
        second = asyncio.create_task(answered.decide(decision("discarded", "bob")))
        await asyncio.wait({second}, timeout=0.05)
        append.may_go_on.set()
        with pytest.raises(ReviewConflict, match="by ann"):
            await second
        await answered.close()

    asyncio.run(race())


def test_the_segment_of_a_cancelled_request_is_closed(
    answered: Review, append: Held, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.prediction_log.review.CLOSE_DUE_SECONDS", 0.01)
    monkeypatch.setattr(Segments, "due", lambda segments: segments._open is not None)

    async def cancelled() -> None:
        await cancelled_decision(answered, append)
        append.may_go_on.set()
        await asyncio.to_thread(until, lambda: list((log / "records").glob("*review*.jsonl")))
        await answered.close()

    asyncio.run(cancelled())


def test_a_photo_is_deleted_although_a_copy_of_it_is_moved_to_the_storage_meanwhile(
    answered: Review, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, delete = Folder(log), Folder.delete
    Segments(storage, 100, 3600).add_photo("2026-03-01", DIGEST, photo("red"))

    def delete_and_ship(folder: Folder, name: str) -> None:
        delete(folder, name)
        if "2026-03-01" in name:
            ship(storage)

    monkeypatch.setattr(Folder, "delete", delete_and_ship)

    async def deleted() -> None:
        await answered.decide(decision("deleted", "ann"))
        await answered.close()

    asyncio.run(deleted())
    assert not list(log.rglob("*.jpg"))


def test_a_photo_that_is_deleted_while_the_storage_is_listed_is_not_listed_again(
    answered: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.prediction_log.review_reader.FULL_SECONDS", 0.0)
    files, record = Folder.files, Decisions.record
    is_listed = threading.Event()

    def list_and_delete(folder: Folder, name: str) -> Iterator[tuple[str, int]]:
        listed = list(files(folder, name))
        if name.startswith("photos") and is_listed.is_set():
            is_listed.clear()
            record(answered._decisions, decision("deleted", "ann"))
        return iter(listed)

    async def deleted() -> None:
        monkeypatch.setattr(Folder, "files", list_and_delete)
        photos, _, _ = await answered.page(Filters(), None, 10)
        assert [one.photo.digest for one in photos] == [DIGEST]
        is_listed.set()
        answered._read_storage()
        photos, _, _ = await answered.page(Filters(status="all"), None, 10)
        assert photos == []
        await answered.close()

    asyncio.run(deleted())


def test_asking_for_images_of_photos_that_never_existed_leaves_nothing_in_memory(
    answered: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(ReviewIndex, "remove", lambda _, digest: removed.append(digest))

    async def asked() -> None:
        with pytest.raises(PhotoNotFound):
            await answered.image("b" * 64)
        await answered.close()

    asyncio.run(asked())
    assert removed == []


def test_closing_does_not_wait_for_storage_that_hangs(
    answered: Review, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = Held(Folder.delete)
    monkeypatch.setattr(Folder, "delete", lambda *arguments: delete(*arguments))

    async def closed() -> None:
        deletion = asyncio.create_task(answered.decide(decision("deleted", "ann")))
        await asyncio.to_thread(delete.called.wait, 60)
        await asyncio.wait_for(answered.close(), 60)
        delete.may_go_on.set()
        assert await deletion is None

    asyncio.run(closed())
    assert any('"deleted"' in line for line in lines(log))
    assert not list(log.rglob("*.open"))


def test_segments_are_closed_again_after_the_storage_failed(
    answered: Review, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def failing(_: Decisions) -> None:
        failed.set()
        raise OSError("the disk is full")

    async def decided() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Decisions, "close_due", failing)
            await answered.decide(decision("discarded", "ann"))
            await until_async(failed.is_set)
            await until_async(lambda: answered._closing is None or answered._closing.done())
        monkeypatch.setattr(Segments, "due", lambda segments: segments._open is not None)
        await answered.decide(Decision(DIGEST, "discarded", None, seen=1, reviewer="bob"))
        await until_async(lambda: list((log / "records").glob("*review*.jsonl")))
        await answered.close()

    asyncio.run(decided())
