"""What is wrong from the start: each a clear error of the tree; nothing lost, nothing half-written, nothing of others touched."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headwater as hw


class Order(msgspec.Struct):
    total: float


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a directory, with its bytes."""
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else b"<directory>" for p in path.rglob("*") if not p.is_fifo()}


def opened(path: Path, **query: str) -> Any:
    suffix = "?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else ""
    return hw.sync.connect(f"local:{path}{suffix}", connect_timeout=3.0)


def filled(path: Path, count: int = 10) -> list[bytes]:
    values = [b"%d" % i for i in range(count)]
    with opened(path) as conn:
        conn.stream("s", bytes).append_many(values)
        conn.queue("q", bytes).put_many(values)
    return values


def values(conn: Any, name: str = "s") -> list[bytes]:
    with conn.stream(name, bytes).read() as reader:
        return [message.value for message in reader]


OUTCOME = """
try:
    with hw.sync.connect("local:{path}", connect_timeout=3.0) as conn:
        {action}
        print("fine")
except hw.HeadwaterError as error:
    print(type(error).__name__, "|", error)
"""


def test_no_permission(tmp_path: Path, unprivileged: Callable[[str], str]) -> None:
    path = tmp_path / "dir"
    filled(path)
    path.chmod(0o000)
    try:
        said = unprivileged(OUTCOME.format(path=path, action="pass"))
    finally:
        path.chmod(0o700)
    assert said.startswith(("ConnectError", "StorageError")), said
    assert str(path) in said and "ermission" in said
    with opened(path) as conn:
        assert len(values(conn)) == 10


def test_no_permission_to_create(tmp_path: Path, unprivileged: Callable[[str], str]) -> None:
    tmp_path.chmod(0o755)
    said = unprivileged(OUTCOME.format(path=tmp_path / "new", action="conn.names()"))
    assert said.startswith(("ConnectError", "StorageError")) and "ermission" in said, said
    assert not (tmp_path / "new").exists()


def test_read_only_by_modes(tmp_path: Path, unprivileged: Callable[[str], str]) -> None:
    """Reads what is there, or says that it can't; a write is refused, and nothing is changed."""
    path = tmp_path / "dir"
    sent = filled(path)
    for found in (path, *path.rglob("*")):
        found.chmod(0o555 if found.is_dir() else 0o444)
    before = tree(path)
    read = unprivileged(OUTCOME.format(path=path, action="print([m.value for m in conn.stream('s', bytes).read()])"))
    assert read == f"{sent}\nfine" or read.startswith(("ConnectError", "StorageError")), read
    written = unprivileged(OUTCOME.format(path=path, action="conn.stream('s', bytes).append(b'x')"))
    assert written.split(" |")[0] in ("ConnectError", "StorageError", "UsageError", "UnsupportedError"), written
    assert tree(path) == before


def test_read_only_mount(tmp_path: Path) -> None:
    path = tmp_path / "dir"
    filled(path)
    mounted = subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True, check=False).returncode == 0
    if not mounted:
        print("no right to mount: the modes of test_read_only_by_modes stand for it")
        return
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        before = tree(path)
        with pytest.raises((hw.ConnectError, hw.StorageError, hw.UsageError)), opened(path) as conn:
            conn.stream("s", bytes).append(b"x")
        assert tree(path) == before
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
    with opened(path) as conn:
        assert len(values(conn)) == 10


def test_full_disk(disk: Any) -> None:
    """Appends and puts are refused, what is there is read and acknowledged; with room everything goes on."""
    path = disk.path / "dir"
    with opened(path) as conn:
        stream, queue = conn.stream("s", bytes), conn.queue("q", bytes)
        group = stream.group("g")
        queue.put_many([b"job %d" % i for i in range(50)])
        group.declare()
        sent = [b"%06d" % i + b"x" * 4000 for i in range(100)]
        stream.append_many(sent)
        disk.fill()
        with pytest.raises(hw.StorageFullError) as caught:
            while True:
                value = b"%06d" % len(sent) + b"x" * 4000
                stream.append(value)
                sent.append(value)
        assert "space" in str(caught.value)
        with pytest.raises(hw.StorageFullError):
            conn.stream("another", bytes).append(b"x" * 200_000)
        assert values(conn) == sent
        done = []
        with queue.consume() as consumer:
            while (message := consumer.next(timeout=0.5)) is not None:
                message.ack()
                done.append(message.value)
        assert len(done) == 50
        disk.free()
        resumed = time.monotonic()
        while True:
            try:
                stream.append(b"again")
                break
            except hw.StorageFullError:
                assert time.monotonic() - resumed < 5
                time.sleep(0.05)
        assert time.monotonic() - resumed < 3
    with opened(path) as conn:
        assert values(conn) == [*sent, b"again"]
        assert conn.queue("q", bytes).stats().ready == 0


def test_no_room_for_a_new_directory(disk: Any) -> None:
    disk.fill()
    with pytest.raises((hw.StorageFullError, hw.ConnectError)), opened(disk.path / "dir") as conn:
        conn.stream("s", bytes).append(b"x")
    disk.free()
    with opened(disk.path / "dir") as conn:
        conn.stream("s", bytes).append(b"x")
        assert values(conn) == [b"x"]


def test_a_reject_on_a_full_disk_loses_nothing(disk: Any) -> None:
    """Property 26: a dead letter that can't be written leaves its message in the source."""
    path = disk.path / "dir"
    big = b"x" * 300_000
    with opened(path) as conn:
        queue = conn.queue("q", bytes, retry=hw.Retry(max_attempts=None, delay=0.0))
        queue.put_many([big] * 20)
        disk.fill()
        rejected = refused = 0
        for _ in range(20):
            (message,) = queue.take(max=1, wait=5.0)
            try:
                message.reject("no use")
                rejected += 1
            except hw.StorageFullError:
                refused += 1
                del message
        disk.free()
        stats = queue.stats()
        with queue.dead.read() as letters:
            dead = [letter.value for letter in letters]
        assert dead == [big] * rejected
        assert rejected + refused == 20 and stats.dead == rejected and stats.ready + stats.leased + stats.delayed == 20 - rejected


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with pytest.raises((hw.ConnectError, hw.IncompatibleError)) as caught, opened(path):
        pass
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"mine"


def test_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    with pytest.raises((hw.IncompatibleError, hw.ConnectError)), opened(tmp_path):
        pass
    assert tree(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"format": "?"}', b"\xff" * 100])
def test_a_manifest_that_is_not_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dir"
    filled(path)
    (path / "headwater.json").write_bytes(content)
    before = tree(path)
    with pytest.raises((hw.IncompatibleError, hw.CorruptionError)) as caught, opened(path) as conn:
        values(conn)
    assert "headwater.json" in str(caught.value) or str(path) in str(caught.value)
    assert {k: v for k, v in tree(path).items() if not k.startswith("run")} == {k: v for k, v in before.items() if not k.startswith("run")}


def test_a_newer_format(tmp_path: Path) -> None:
    path = tmp_path / "dir"
    filled(path)
    manifest = path / "headwater.json"
    stored = json.loads(manifest.read_bytes())
    changed = [key for key, value in stored.items() if "format" in key or "incompat" in key or "major" in key]
    assert changed, stored
    for key in changed:
        newer = dict(stored)
        match stored[key]:
            case int(number):
                newer[key] = number + 1000
            case str(text):
                major, dot, rest = text.partition(".")
                newer[key] = f"{int(major) + 1000}{dot}{rest}"
            case {"major": int(number), **rest}:
                newer[key] = {**rest, "major": number + 1000}
            case list(parts):
                newer[key] = [parts[0] + 1000, *parts[1:]] if parts else ["from-the-future"]
            case other:
                raise AssertionError(other)
        manifest.write_text(json.dumps(newer))
        with pytest.raises(hw.IncompatibleError) as caught, opened(path):
            pass
        assert caught.value.found and caught.value.supported
    manifest.write_text(json.dumps(stored))
    with opened(path) as conn:
        assert len(values(conn)) == 10


def test_a_newer_segment(tmp_path: Path) -> None:
    """An unknown incompat bit in one segment is refused, by segment."""
    path = tmp_path / "dir"
    filled(path)
    (segment,) = (path / "s").rglob("*.seg")
    original = segment.read_bytes()
    segment.write_bytes(original[:8] + b"\xff\x00" + original[10:])
    with pytest.raises((hw.IncompatibleError, hw.CorruptionError)), opened(path) as conn:
        values(conn)
    segment.write_bytes(original)
    with opened(path) as conn:
        assert len(values(conn)) == 10


def test_a_payload_that_does_not_fit(tmp_path: Path) -> None:
    with opened(tmp_path / "dir") as conn:
        stream, queue, channel = conn.stream("s", Order), conn.queue("q", Order), conn.channel("c", Order)
        raw = conn.stream("raw", bytes)
        for send in (stream.append, queue.put, channel.publish, raw.append):
            with pytest.raises((hw.EncodeError, hw.UsageError)):
                send(object())
        with pytest.raises(hw.HeadwaterError):
            stream.append_many([Order(1.0), object()], atomic=True)
        assert values(conn) == [] and queue.stats().ready == 0
        conn.stream("s", dict).append({"total": "much"})
        (message,) = list(stream.read())
        with pytest.raises(hw.DecodeError) as caught:
            message.value  # noqa: B018 - the look is the point
        assert "total" in str(caught.value.path)


@pytest.mark.parametrize(
    "url",
    [
        "gopher://x",
        "x",
        "local",
        "local:",
        "memory:?as=nothing",
        "local:{}?durabilty=always",
        "local:{}?durability=maybe",
        "local:{}?interval=x",
        "local:{}?a=1&b=2",
    ],
)
def test_urls(tmp_path: Path, url: str) -> None:
    url = url.format(tmp_path / "dir")
    with pytest.raises(hw.UsageError) as caught, hw.sync.connect(url) as conn:
        conn.names()
    assert str(caught.value)
    assert not (tmp_path / "dir").exists()


def test_durability_is_as_stored(tmp_path: Path) -> None:
    with opened(tmp_path / "dir", durability="always") as conn:
        conn.stream("s", bytes).append(b"x")
    with pytest.raises(hw.UsageError), opened(tmp_path / "dir", durability="never"):
        pass
    with opened(tmp_path / "dir") as conn:
        assert conn.capabilities.acknowledged == "fsync"


def test_names(tmp_path: Path) -> None:
    with opened(tmp_path / "dir") as conn:
        for name in ("", "a*", "../*", "a\0", "\n", "x" * 201, "a..b", "a/../../b", "..", "e\u0301"):
            for declare in (conn.stream, conn.queue, conn.stream("s").group):
                with pytest.raises(hw.InvalidNameError):
                    declare(name)
        for name in ("/etc/passwd", "~root", "C:\\x", "-rf"):
            conn.stream(name, str).append(name)
            assert values(conn, name) == [name.encode()]
    assert {p.name for p in tmp_path.iterdir()} == {"dir"}, "a name is never a path"


def test_a_100_mib_message(tmp_path: Path) -> None:
    with opened(tmp_path / "dir") as conn:
        stream, queue, channel = conn.stream("s", bytes), conn.queue("q", bytes), conn.channel("c", bytes)
        large = b"x" * (100 << 20)
        with channel.subscribe() as sub:
            for send in (stream.append, queue.put, channel.publish):
                with pytest.raises(hw.TooLargeError) as caught:
                    send(large)
                assert caught.value.size >= 100 << 20 and caught.value.limit == 16 << 20
            assert sub.next(timeout=0.05) is None
        assert values(conn) == [] and queue.stats().ready == 0
        stream.append(b"fine")
        assert values(conn) == [b"fine"]
    with hw.sync.connect(f"local:{tmp_path / 'dir'}", max_message_bytes=1000) as conn, pytest.raises(hw.TooLargeError):
        conn.stream("s", bytes).append(b"x" * 1001)
