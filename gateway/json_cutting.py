"""Cuts large arrays of numbers and long strings out of a JSON text before it is parsed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import numpy as np

from gateway.interpreter import copy_of, let_others_run
from gateway.json_numbers import SPACE, Numbers, Text, read_numbers

LEAST = 4096
"""Bytes from which an array or a string is worth cutting out."""

AS_BYTES = 64 * 2**10
"""Characters from which a string that was cut out is given as bytes: to make a string of 32 MB takes 10 ms."""

_WINDOW = 128 * 2**10
"""Bytes that are looked through at once: some tenths of a millisecond."""

_PAUSE = 1000
"""Values of one list or object that are looked at before other threads may run."""

_LOOKED_BEHIND = 64
"""Bytes after a string in which a colon is looked for."""

_ASCII = 0x7F

_PADDING = (rb"\u003d", rb"\u003D")
"""What some writers (Gson) make of base64's ``=``, of which there are at most two."""

_PADDING_LENGTH = 6

_MOST_PADDING = 2

_BOUNDS = np.isin(np.arange(256), [ord(character) for character in '"{}'])


Cut = Numbers | str | bytes
"""A regular array of numbers; or a string, which is bytes (ASCII) where it has `AS_BYTES` characters."""


def cut_large(text: Text) -> tuple[Text, dict[str, Cut]]:
    """Take the regular arrays of numbers and the long strings, such as images in base64, out of a JSON text.

    Args:
        text: JSON, or what should be.

    Returns:
        The text with a string in the place of each that has `LEAST` bytes, and what was there by these strings, which
        no caller can foresee. What was no JSON, for another reason than a value in an array, still is none. Strings
        with other characters than ASCII, or with escapes other than of slashes and of base64's ``=``, stay where they
        are.

    Raises:
        BadRequest: A regular array has a value that is none.
    """
    kept: list[bytes] = []
    found: dict[str, Cut] = {}
    key, done, lenient = secrets.token_hex(16), 0, None
    for begin, stop, is_string in _stretches(text, LEAST):
        token = f"{key}{len(found):08x}"
        if is_string:
            string = _long_string(text, begin, stop)
            if string is not None:
                found[token] = string
                kept += [copy_of(text, done, begin), token.encode()]
                done = stop
            continue
        start, end = text.find(b"[", begin, stop), text.rfind(b"]", begin, stop) + 1
        if start < 0 or end - start < LEAST or text.find(b":", end, stop) >= 0:
            continue  # the last: a list as a key would pass for JSON
        if lenient is None:
            lenient = is_lenient(text)
        numbers = read_numbers(text, start, end, lenient=lenient)
        if numbers is None:
            continue
        found[token] = numbers
        kept += [copy_of(text, done, start), b'"' + token.encode() + b'"']
        done = end
    if not found:
        return text, found
    return b"".join([*kept, copy_of(text, done, len(text))]), found


def put_back(value: object, found: Mapping[str, Cut]) -> object:
    """A parsed text with what was cut out of it again in its places."""
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


def _long_string(text: Text, start: int, end: int) -> str | bytes | None:
    """A string between two quotes, as it is put back; None where it stays."""
    behind = text[end + 1 : end + 1 + _LOOKED_BEHIND].lstrip(SPACE)
    if not behind or behind.startswith(b":"):
        return None  # a key, or what might be one
    padding = 0
    while padding < _MOST_PADDING and text[end - _PADDING_LENGTH : end] in _PADDING:
        end, padding = end - _PADDING_LENGTH, padding + 1
    parts = []
    while start < end:
        part = bytes(text[start : min(start + _WINDOW, end)])
        if part.endswith(b"\\"):
            part = part[:-1]  # with what follows it, or it stays
        codes = np.frombuffer(part, np.uint8)
        if not len(codes) or codes.min() < ord(" ") or codes.max() > _ASCII:
            return None
        plain = part.replace(b"\\/", b"/")
        if b"\\" in plain:
            return None
        parts.append(plain)
        start += len(part)
        let_others_run()
    whole = b"".join([*parts, b"=" * padding])
    return whole if len(whole) >= AS_BYTES else whole.decode()


def _stretches(text: Text, least: int) -> Iterator[tuple[int, int, bool]]:
    """The parts of a text, of so many bytes at least, that are in no string and hold no brace, and the long strings.

    Gives where each begins and ends, and whether it is the inside of a string.
    """
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
        for index in np.flatnonzero(np.diff(bounds) > least).tolist():
            yield int(bounds[index]) + 1, int(bounds[index + 1]), bool(states[index])
        bound, inside = int(bounds[-1]), int(states[-1])
        let_others_run()
    if not inside and len(text) - bound > least:
        yield bound + 1, len(text), False


def _contains(text: Text, word: bytes) -> bool:
    for start in range(0, len(text), _WINDOW):
        if text.find(word, start, start + _WINDOW + len(word)) >= 0:
            return True
        let_others_run()
    return False
