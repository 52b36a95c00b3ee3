"""Cross-origin headers of answers that the server writes itself."""

from __future__ import annotations

import time
import timeit

from gateway.http import cors


def test_an_origin_in_unparsed_bytes_is_looked_for_in_linear_time() -> None:
    def seconds(spaces: int) -> float:
        unparsed = b"GET / HTTP/2.0\r\nOrigin:" + b" " * spaces + b"x"
        times = timeit.repeat(
            lambda: cors.headers(["https://example.com"], (), unparsed), timer=time.thread_time, number=20, repeat=5
        )
        return min(times)

    assert seconds(800) < 20 * seconds(100)  # quadratic time would be 64 times as much
