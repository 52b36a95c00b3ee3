"""One caller cannot take everything, and leaves room for the next even while it is alone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.errors import Overloaded
from gateway.inference.admission import Admission


def admission() -> Admission:
    return Admission(max_images=64, max_uploads=16, max_upload_bytes=1600, max_request_bytes=100)


def test_a_caller_who_is_alone_leaves_room_for_the_next() -> None:
    permits = admission()
    with ExitStack() as stack:
        for _ in range(56):
            stack.enter_context(permits.admit("a", 1))
        with pytest.raises(Overloaded):
            stack.enter_context(permits.admit("a", 1))
        for _ in range(8):
            stack.enter_context(permits.admit("b", 1))
    assert permits.in_flight == 0


def test_a_caller_may_hold_a_quarter_while_others_hold_anything() -> None:
    permits = admission()
    with ExitStack() as stack:
        stack.enter_context(permits.admit("b", 1))
        for _ in range(16):
            stack.enter_context(permits.admit("a", 1))
        with pytest.raises(Overloaded):
            stack.enter_context(permits.admit("a", 1))


def test_batches_leave_a_quarter_to_single_images() -> None:
    permits = admission()
    with ExitStack() as stack:
        stack.enter_context(permits.admit("a", 48))
        with pytest.raises(Overloaded):
            stack.enter_context(permits.admit("a", 2))
        stack.enter_context(permits.admit("a", 1))
        with pytest.raises(Overloaded):
            permits.check_batch()


def test_uploads_and_their_bytes_are_shared_in_the_same_way() -> None:
    permits = admission()
    for _ in range(14):
        permits.begin_upload("a")
    with pytest.raises(Overloaded):
        permits.begin_upload("a")
    permits.begin_upload("b")
    for number in range(14):
        permits.hold(("a", number), 100)
    with pytest.raises(Overloaded):
        permits.hold(("a", 14), 1)
    permits.hold(("b", 1), 100)
    for number in range(14):
        permits.release(("a", number))
    permits.release(("b", 1))
    for caller in ["a"] * 14 + ["b"]:
        permits.end_upload(caller)
    assert permits.is_idle


def test_no_bytes_leave_no_entry() -> None:
    permits = admission()
    permits.hold(("a", 1), 0)
    assert not permits._request_bytes
    assert not permits._upload_bytes
