"""Random calls; `python -m testing.grpc_fuzz` makes more of them."""

from __future__ import annotations

from collections import Counter

import grpc

from testing.grpc_fuzz import calls


def test_any_call_is_answered_or_has_a_documented_code(channel: grpc.Channel) -> None:
    codes = Counter(code for code, _ in calls(channel, range(1000)))
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= codes.keys()
