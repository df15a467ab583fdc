"""What `append`, `put` and `publish` share: values from arguments and stdin, sent in batches, and a result for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .. import BatchError
from .options import value_of
from .output import line, objects
from .progress import Progress

#: Bytes read from stdin at a time: what is there is sent at once, and a fast writer gets large batches.
CHUNK = 1 << 18

Send = Callable[[list[Any]], list[Any]]


def batches(given: Iterable[str], raw: bool) -> Iterator[list[Any]]:
    """The values of the arguments in batches: those typed in one, those of a stdin (`-`) as they come, a line each."""
    typed: list[Any] = []
    for each in given:
        if each != "-":
            typed.append(value_of(each, raw))
            continue
        if typed:
            yield typed
            typed = []
        for lines in _stdin():
            yield [value_of(text, raw) for text in lines]
    if typed:
        yield typed


def _stdin() -> Iterator[list[bytes]]:
    rest: list[bytes] = []
    while data := os.read(sys.stdin.fileno(), CHUNK):
        first, *lines = data.split(b"\n")
        rest.append(first)
        if lines:
            yield [b"".join(rest), *lines[:-1]]
            rest = [lines[-1]]
    if last := b"".join(rest):
        # A last line need not end in a newline.
        yield [last]


def send_all(values: Iterator[list[Any]], send: Send, what: str, field: str, *, quiet: bool, json: bool) -> None:
    """Sends batch by batch and prints the result of each value: plain, or as `{field: result}`. Of a batch that failed in part, the
    results that there are."""

    def report(results: list[Any]) -> None:
        done = [each for each in results if not isinstance(each, Exception)]
        if not quiet and json:
            objects({field: each} for each in done)
        elif not quiet:
            for each in done:
                line("-" if each is None else str(each))
        sys.stdout.flush()

    with Progress(what) as progress:
        for batch in values:
            try:
                results = send(batch)
            except BatchError as error:
                report(list(error.results))
                raise
            report(results)
            progress.advance(len(batch))
