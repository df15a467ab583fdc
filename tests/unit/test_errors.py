"""The exceptions: the tree as drawn, made, copied and pickled, and no error of the engine that is not one of them."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import errors

KINDS: list[type[hw.HeadwaterError]] = [getattr(errors, name) for name in errors.__all__]
CRATES = Path(__file__).parents[2] / "crates"


def drawn() -> dict[str, tuple[str, set[str]]]:
    """The tree at the top of errors.py: each class with its parent and attributes."""
    found: dict[str, tuple[str, set[str]]] = {}
    parents = ["Exception"]
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+Error)((?:\([^)]*\))*)", line):
            depth = len(match[1]) // 2
            parents[depth + 1 :] = [match[2]]
            found[match[2]] = (parents[depth], set(re.findall(r"\.(\w+)", match[3])))
    return found


def test_the_tree_is_the_one_drawn() -> None:
    tree = drawn()
    assert set(tree) == set(errors.__all__)
    for name, (parent, attributes) in tree.items():
        kind = getattr(errors, name)
        assert any(parent == base.__name__ for base in kind.__mro__[1:]), name
        for attribute in attributes:
            assert attribute == "results" or hasattr(kind, attribute), f"{name}.{attribute}"
    # And nothing hangs elsewhere than drawn.
    for name in tree:
        above = [base.__name__ for base in getattr(errors, name).__mro__[1:] if base.__name__ in tree]
        assert above[:1] == [parent for parent in [tree[name][0]] if parent in tree], name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not hw.BatchError], ids=lambda kind: kind.__name__)
def test_made_copied_pickled(kind: type[hw.HeadwaterError]) -> None:
    attributes = dict.fromkeys(sorted(drawn()[kind.__name__][1]), "x")
    error = kind("what happened", **attributes)
    assert str(error) == "what happened"
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - made on the line itself
        assert type(again) is kind
        assert str(again) == "what happened"
        assert {name: getattr(again, name) for name in attributes} == attributes
    with pytest.raises(TypeError, match="misspelt"):
        kind("x", misspelt=1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not hw.BatchError], ids=lambda kind: kind.__name__)
def test_what_nobody_gave_is_none(kind: type[hw.HeadwaterError]) -> None:
    for name in drawn()[kind.__name__][1]:
        assert getattr(kind("x"), name) in (None, False)


def test_batch() -> None:
    first, third = hw.FullError("full"), hw.TooLargeError("large", size=5, limit=4)
    error = hw.BatchError("2 of 3 failed", [first, "id", third])
    assert error.results == [first, "id", third]
    assert error.exceptions == (first, third)
    caught: list[Any] = []
    try:
        raise error
    except* hw.FullError as group:
        caught += group.exceptions
    except* hw.TooLargeError as group:
        caught += group.exceptions
    assert caught == [first, third]


def test_every_error_of_the_engine_is_mapped_by_name() -> None:
    """The engine's `Error` has no variant that the binding maps by its last resort."""
    source = (CRATES / "headwater-log" / "src" / "error.rs").read_text()
    enum = source[source.index("pub enum Error {") :]
    enum = enum[: enum.index("\n}\n")]
    variants = set(re.findall(r"^    ([A-Z]\w+)", enum, re.MULTILINE))
    assert {"Usage", "Timeout", "StorageFull"} <= variants
    mapping = (CRATES / "headwater-python" / "src" / "errors.rs").read_text()
    mapped = set(re.findall(r"Error::([A-Z]\w+)", mapping))
    assert variants <= mapped, variants - mapped
    classes = set(re.findall(r'new\("(\w+)"\)', mapping)) | set(re.findall(r'raise\([^"]*"(\w+)"', mapping))
    assert classes <= set(errors.__all__)


def test_the_system_is_the_cause(tmp_path: Path) -> None:
    """An error of the system comes as one of ours, with itself as `__cause__`."""
    directory = tmp_path / "d"
    with hw.sync.connect(f"local:{directory}") as conn:
        conn.stream("s", bytes).append(b"x")
        (meta,) = directory.glob("s/*/meta.bin")
        meta.unlink()
        os.mkdir(meta)
        with pytest.raises(hw.HeadwaterError) as caught:
            conn.stream("s", retention=hw.Retention(records=1)).declare()
    assert isinstance(caught.value, hw.StorageError)
    assert str(meta) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (lambda c: c.stream("s", int).append(1, expect=hw.Position("s", 9)), {"actual": hw.Position("s", 1)}),
        (lambda c: c.stream("s", int).append(1, expect="empty"), {"actual": hw.Position("s", 1)}),
        (lambda c: c.stream("s", int).append(1, key="new", expect_key=hw.Position("s", 1)), {"actual": None}),
        (lambda c: c.queue("q", ordering="key").declare(), {"stored": "none", "asked": "key"}),
        (lambda c: c.stream("s", partitions=3).declare(), {"stored": 1, "asked": 3}),
        (lambda c: c.queue("full", int, max_length=1).put_many([1, 2]), {"results": None}),
        (lambda c: c.queue("q", int).put(2, unique="u", on_duplicate="raise"), {"first": None}),
        (lambda c: c.queue("none").delete(), {"name": "none"}),
        (lambda c: c.stream("none").open(), {"name": "none"}),
        (lambda c: c.stream("b", bytes).append(b"x" * 2000), {"size": None, "limit": 1000}),
        (lambda c: c.queue("b", bytes).put(b"x" * 2000), {"size": None, "limit": 1000}),
        (lambda c: c.channel("b", bytes).publish(b"x" * 2000), {"size": None, "limit": 1000}),
    ],
)
def test_attributes(error: Any, attributes: dict[str, Any]) -> None:
    """None: whatever it is, it is there."""
    with hw.sync.connect("memory:", max_message_bytes=1000) as conn:
        conn.stream("s", int).append(1)
        conn.queue("q", int).put(1, unique="u")
        with pytest.raises(hw.HeadwaterError) as caught:
            error(conn)
    for name, value in attributes.items():
        found = getattr(caught.value, name)
        assert found == value if value is not None or name == "actual" else found is not None, (name, found)


def test_a_password_never_shows(caplog: pytest.LogCaptureFixture) -> None:
    """In errors, reprs and logs, on whichever way a URL goes."""
    from headwater.abc import Settings
    from headwater.url import Url

    said: list[str] = []
    for url in ("redis://ada:s3cret@h", "amqps://ada:s3cret@h:99999", "local:x?key=s3cret@y"):
        with pytest.raises(hw.HeadwaterError) as caught:
            hw.sync.connect(url)
        said += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
    settings = Settings(Url.parse("redis://ada:s3cret@h"), "n", 1, 1, 1, {}, sync=True)
    said += [repr(settings), repr(settings.url), f"{settings.url}", caplog.text]
    assert not [text for text in said if "s3cret" in text and "key=" not in text], said
