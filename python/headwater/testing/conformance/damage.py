"""Damaged files and full disks, for engines whose files we can reach: properties 53 and 54."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import pytest

import headwater as hw
from headwater.testing.conformance.helpers import everything
from headwater.testing.conformance.proves import proves
from headwater.testing.conformance.target import Trial

LAST = b"the last record of the stream, which the test damages"


def _where(directory: Path, needle: bytes) -> tuple[Path, int]:
    """The file that holds `needle`, relative to the directory, and where in it."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and (at := path.read_bytes().find(needle)) >= 0:
            return path.relative_to(directory), at
    raise AssertionError("the record is in no file")


class _Reports(logging.Handler):
    """Counts what the library warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


async def _damaged(t: Trial, directory: Path, name: str, sent: list[bytes], whole: bool = False) -> None:
    """Opens a damaged copy: what comes before the damage is intact, and the damage is reported, or nothing is missing at all."""
    reports = _Reports()
    logging.getLogger("headwater").addHandler(reports)
    got: list[bytes] = []
    try:
        async with hw.connect(t.url.replace(str(t.target.directory(t.url)), str(directory))) as conn:  # type: ignore[misc]
            try:
                async with conn.stream(name, bytes).read() as reader:
                    async for message in reader:
                        got.append(message.value)  # noqa: PERF401 - those before an error count
            except hw.CorruptionError as error:
                assert error.file
                reports.count += 1
    finally:
        logging.getLogger("headwater").removeHandler(reports)
    assert got[: len(sent) - 1] == sent[:-1], "what was confirmed before the damage"
    assert got[len(sent) - 1 :] in ([], sent[-1:]), "wrong bytes were handed out"
    assert got == sent or reports.count, "a record is gone and nobody was told"


async def _prepared(t: Trial) -> tuple[list[bytes], Path, Path, int]:
    sent = [b"first", b"second", b"third", LAST]
    stream = t.conn.stream(t.name(), bytes)
    for value in sent:
        await stream.append(value, key="k", headers={"h": "v"})
    await t.conn.flush()
    await t.conn.close()
    assert t.target.directory is not None
    original = t.target.directory(t.url)
    return sent, original, *_where(original, LAST)


@proves(53, needs={"stream": []}, files=True, seconds=240)
async def test_53_a_flip_in_every_byte_of_the_last_record(t: Trial) -> None:
    sent, original, file, at = await _prepared(t)
    with tempfile.TemporaryDirectory(prefix="headwater-flip-") as scratch:
        for offset in range(at - 64, at + len(LAST) + 16, max(1, int(3 / t.target.count))):
            copy = Path(scratch) / str(offset)
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("run", "reserve"))
            with (copy / file).open("r+b") as damaged:
                damaged.seek(offset)
                byte = damaged.read(1)[0]
                damaged.seek(offset)
                damaged.write(bytes([byte ^ (1 << offset % 8)]))
            await _damaged(t, copy, t.name(), sent)
            shutil.rmtree(copy)


@proves(53, needs={"stream": []}, files=True, seconds=240)
async def test_53_cut_off_at_every_byte_of_the_last_record(t: Trial) -> None:
    sent, original, file, at = await _prepared(t)
    with tempfile.TemporaryDirectory(prefix="headwater-cut-") as scratch:
        for offset in range(at - 8, at + len(LAST) + 8, max(1, int(6 / t.target.count))):
            copy = Path(scratch) / str(offset)
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("run", "reserve"))
            with (copy / file).open("r+b") as damaged:
                damaged.truncate(offset)
            await _damaged(t, copy, t.name(), sent)
            shutil.rmtree(copy)


@proves(54, needs={"stream": [], "queue": []}, files=True, processes=True)
async def test_54_no_room(t: Trial) -> None:
    """The disk is full (for one process: RLIMIT_FSIZE): the append raises, what is there stays readable, appends resume with the room."""
    # Less than the smallest file that an engine would make instead of the one it wanted.
    worker = t.worker("fill", stream=t.name(), limit=2**12)
    (full,) = await worker.until("full", timeout=60)
    assert full["error"] == "StorageFullError", full
    (done,) = await worker.until("resumed", timeout=30)
    got = [m.value for m in await everything(t.conn.stream(t.name(), bytes))]
    assert len(got) == done["count"]
    assert [int(value[:12]) for value in got] == list(range(done["count"]))


@proves(54, needs={"stream": []}, files=True)
async def test_54_read_only_names_the_trouble(t: Trial) -> None:
    """A file where the directory should be: an error of the tree, and the file is as it was."""
    assert t.target.directory is not None
    with tempfile.TemporaryDirectory(prefix="headwater-file-") as scratch:
        path = Path(scratch) / "a-file"
        path.write_bytes(b"not ours")
        with pytest.raises(hw.HeadwaterError):
            async with hw.connect(t.url.replace(str(t.target.directory(t.url)), str(path))):
                pass
        assert path.read_bytes() == b"not ours"
