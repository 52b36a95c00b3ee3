"""Cuts large arrays of numbers out of a JSON text before it is parsed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np

from gateway.interpreter import copy_of, let_others_run
from gateway.json_numbers import Numbers, Text, read_numbers

LEAST = 4096
"""Bytes from which an array is worth cutting out."""

_WINDOW = 128 * 2**10
"""Bytes that are looked through at once: some tenths of a millisecond."""

_PAUSE = 1000
"""Values of one list or object that are looked at before other threads may run."""

_BOUNDS = np.isin(np.arange(256), [ord(character) for character in '"{}'])


def cut_numbers(text: Text) -> tuple[Text, dict[str, Numbers]]:
    """Take the regular arrays of numbers out of a JSON text.

    Args:
        text: JSON, or what should be.

    Returns:
        The text with a string in the place of each that has `LEAST` bytes, and the arrays by these strings, which no
        caller can foresee. What was no JSON, for another reason than a value in an array, still is none.

    Raises:
        BadRequest: A regular array has a value that is none.
    """
    kept: list[bytes] = []
    found: dict[str, Numbers] = {}
    key, done, lenient = secrets.token_hex(16), 0, None
    for begin, stop in _stretches(text, LEAST):
        start, end = text.find(b"[", begin, stop), text.rfind(b"]", begin, stop) + 1
        if start < 0 or end - start < LEAST or text.find(b":", end, stop) >= 0:
            continue  # the last: a list as a key would pass for JSON
        if lenient is None:
            lenient = is_lenient(text)
        numbers = read_numbers(text, start, end, lenient=lenient)
        if numbers is None:
            continue
        token = f"{key}{len(found):08x}"
        found[token] = numbers
        kept += [copy_of(text, done, start), b'"' + token.encode() + b'"']
        done = end
    if not found:
        return text, found
    return b"".join([*kept, copy_of(text, done, len(text))]), found


def put_back(value: object, found: dict[str, Numbers]) -> object:
    """A parsed text with its arrays again in their places."""
    length = len(next(iter(found), ""))

    def now(one: object) -> object:
        if isinstance(one, list | dict):
            waiting.append(one)
        elif isinstance(one, str) and len(one) == length:
            return found.get(one, one)
        return one

    top = [value]
    waiting: list[list[object] | dict[str, object]] = [top]
    while waiting:
        holder = waiting.pop()
        pairs = list(holder.items()) if isinstance(holder, dict) else []
        for start in range(0, len(holder), _PAUSE):
            if isinstance(holder, dict):
                holder.update((name, now(one)) for name, one in pairs[start : start + _PAUSE])
            else:
                holder[start : start + _PAUSE] = map(now, holder[start : start + _PAUSE])
            let_others_run()
    return top[0]


def is_lenient(text: Text) -> bool:
    """Whether a text that is no JSON may be more than JSON: ``NaN`` or ``Infinity`` is in it."""
    return _contains(text, b"NaN") or _contains(text, b"Infinity")


def count(text: Text, characters: bytes) -> int:
    """How many of some characters a text has."""
    total = 0
    for start in range(0, len(text), _WINDOW):
        window = text[start : start + _WINDOW]
        total += len(window) - len(window.translate(None, characters))
        let_others_run()
    return total


def _stretches(text: Text, least: int) -> Iterator[tuple[int, int]]:
    """The parts of a text that are in no string and hold no brace, of so many bytes at least."""
    bound, inside, slashes = -1, 0, 0  # the last quote or brace, whether a string began there, backslashes at the end
    for start in range(0, len(text), _WINDOW):
        window = np.frombuffer(text[start : start + _WINDOW], np.uint8)
        places = np.flatnonzero(_BOUNDS[window])
        slash = window == ord("\\")
        if slashes or slash.any():
            # A quote counts unless there is an odd number of backslashes just before it.
            before = -1 - slashes  # of whatever is no backslash, the last before this window
            plain = np.where(slash, before, np.arange(len(window)))
            plain = np.maximum.accumulate(np.concatenate(([before], plain)))
            places = places[(places - 1 - plain[places]) % 2 == 0]
            slashes = len(window) - 1 - int(plain[-1])
        quotes = window[places] == ord('"')
        within = (inside + np.cumsum(quotes)) % 2
        ends = quotes | (within == 0)
        bounds = np.concatenate(([bound], places[ends] + start))
        states = np.concatenate(([inside], within[ends]))
        for index in np.flatnonzero((np.diff(bounds) > least) & (states[:-1] == 0)).tolist():
            yield int(bounds[index]) + 1, int(bounds[index + 1])
        bound, inside = int(bounds[-1]), int(states[-1])
        let_others_run()
    if not inside and len(text) - bound > least:
        yield bound + 1, len(text)


def _contains(text: Text, word: bytes) -> bool:
    for start in range(0, len(text), _WINDOW):
        if text.find(word, start, start + _WINDOW + len(word)) >= 0:
            return True
        let_others_run()
    return False
