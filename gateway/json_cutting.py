"""Cuts large arrays of numbers out of a JSON text before it is parsed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from gateway.json_numbers import Numbers, Text, let_others_run, read_numbers

LEAST = 1024
"""Bytes from which an array is worth cutting out."""

_WINDOW = 256 * 2**10
"""Bytes that are looked through at once: some tenths of a millisecond."""

_MARKS = 200_000
"""Quotes and braces after which no more arrays are cut out: whatever has as many holds no tensors of any size."""

_PAUSE = 1000
"""Marks and values that are looked at before other threads may run."""


def cut_numbers(text: Text) -> tuple[Text, dict[str, Numbers]]:
    """Take the regular arrays of numbers out of a JSON text.

    Args:
        text: JSON, or what should be.

    Returns:
        The text with a string in the place of each that has `LEAST` bytes, which no caller can foresee, and the arrays by these strings. What
        is no JSON but for the arrays still is none.

    Raises:
        BadRequest: A regular array has a value that is none.
    """
    kept: list[Text] = []
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
        kept += [text[done:start], b'"' + token.encode() + b'"']
        done = end
    if not found:
        return text, found
    return b"".join([*kept, text[done:]]), found


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
    looked = 0
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            for name, one in holder.items():
                holder[name] = now(one)
        else:
            holder[:] = map(now, holder)
        looked += len(holder)
        if looked > _PAUSE:
            looked = 0
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
    marks = dict.fromkeys((b'"', b"{", b"}"), -1)
    position = 0
    for number in range(_MARKS):
        if not number % _PAUSE:
            let_others_run()
        for mark, place in marks.items():
            if place < position:
                marks[mark] = _find(text, mark, position)
        end = min(marks.values())
        if end - position >= least:
            yield position, end
        if end == len(text):
            return
        position = end + 1 if end != marks[b'"'] else _string_end(text, end + 1)


def _contains(text: Text, word: bytes) -> bool:
    for start in range(0, len(text), _WINDOW):
        if text.find(word, start, start + _WINDOW + len(word)) >= 0:
            return True
        let_others_run()
    return False


def _find(text: Text, mark: bytes, position: int) -> int:
    """Where a character is next, or the end of the text."""
    while position < len(text):
        place = text.find(mark, position, position + _WINDOW)
        if place >= 0:
            return place
        position += _WINDOW
        let_others_run()
    return len(text)


def _string_end(text: Text, position: int) -> int:
    """Just after the quote that ends a string, or the end of the text."""
    while (quote := _find(text, b'"', position)) < len(text):
        before = text[max(position, quote - _WINDOW) : quote]
        backslashes = len(before) - len(before.rstrip(b"\\")) if before.endswith(b"\\") else 0
        if backslashes == _WINDOW:
            break  # cannot be told from here, and is nothing that anyone sends
        if backslashes % 2 == 0:
            return quote + 1
        position = quote + 1
    return len(text)
