"""How often the page tries to read the models while they cannot be read, by a clock that the test turns."""

from __future__ import annotations

from typing import cast

import pytest

from testing.page import Page

SCRIPT = """const [failing, done] = arguments;
(async () => {
    const {Availability} = await import('/web/service.js');
    const timers = new Map(), set = window.setTimeout, clear = window.clearTimeout;
    let last = 0, reads = 0;
    window.setTimeout = (what, delay) => { timers.set(++last, {what, delay}); return last; };
    window.clearTimeout = (timer) => timers.delete(timer);
    try {
        const service = new EventTarget();
        Object.assign(service, {reachable: true, available: 'colours 1', missing: {}, answers: () => true});
        service.check = async () => service.dispatchEvent(new Event('change'));
        const load = async () => {
            reads += 1;
            await null;
            if (reads <= failing) throw Object.assign(new Error('not now'), {passing: true});
        };
        const availability = new Availability(service, {name: 'colours', load});
        const waits = [], pending = [];
        await availability.retry();
        for (let round = 0; round < 6; round++) {
            for (let turn = 0; turn < 20; turn++) await null;
            pending.push(timers.size);
            const [timer, {what, delay}] = [...timers][0] ?? [0, {what: () => {}, delay: 0}];
            timers.delete(timer);
            waits.push(delay);
            await what();
        }
        done({waits, pending, reads, open: availability.open});
    } finally {
        [window.setTimeout, window.clearTimeout] = [set, clear];
    }
})();"""


@pytest.mark.parametrize(
    ("failing", "waits"), [(100, [3000, 5100, 8670, 10000, 10000, 10000]), (2, [3000, 5100, 0, 0, 0, 0])]
)
def test_models_that_cannot_be_read_are_tried_again_by_one_timer_and_ever_less_often(
    page: Page, failing: int, waits: list[int]
) -> None:
    result = cast(dict[str, object], page.browser.execute_async_script(SCRIPT, failing))
    assert result["waits"] == waits
    assert result["pending"] == [1 if wait else 0 for wait in waits]
    assert result["reads"] == (7 if failing == 100 else 3)
    assert result["open"] == (failing == 2)
