"""The grammar of names, alike on every engine: 1–200 bytes of UTF-8 in NFC, no control characters, no `*`, no empty word between
dots. A channel's pattern may besides hold the words `*` (exactly one word) and, last, `**` (one or more)."""

from __future__ import annotations

import unicodedata

from .errors import InvalidNameError

__all__ = ["check_name", "check_pattern", "is_pattern"]

MAX_BYTES = 200


def check_name(name: str) -> str:
    """`name` itself. InvalidNameError says what is wrong with it."""
    if why := _wrong(name):
        raise InvalidNameError(f"{name!r} is not a valid name: {why}", name=name if isinstance(name, str) else None)  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
    if "*" in name:
        raise InvalidNameError(f"{name!r} is not a valid name: `*` is for the patterns of channels", name=name)
    return name


def is_pattern(name: str) -> bool:
    return "*" in name


def check_pattern(name: str) -> str:
    """`name`, a channel's name or pattern."""
    if why := _wrong(name):
        raise InvalidNameError(f"{name!r} is not a valid name: {why}", name=name if isinstance(name, str) else None)  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
    words = name.split(".")
    for place, word in enumerate(words):
        if "*" not in word or word == "*" or (word == "**" and place == len(words) - 1):
            continue
        raise InvalidNameError(f"{name!r} is not a valid pattern: `*` stands for one whole word, `**` for the last ones", name=name)
    return name


def _wrong(name: object) -> str | None:
    if not isinstance(name, str):
        return "it is not a str"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not 1 <= size <= MAX_BYTES:
        return f"it has {size} bytes of UTF-8, not 1 to {MAX_BYTES}"
    if any(unicodedata.category(char) == "Cc" for char in name):
        return "it has a control character"
    if not all(name.split(".")):
        return "it has an empty word beside a dot"
    if not unicodedata.is_normalized("NFC", name):
        return "it is not in Unicode's normal form NFC"
    return None
