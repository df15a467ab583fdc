"""The two faces of the library have the same classes, methods, parameters and defaults; only `async` differs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import headwater as hw
from headwater import sync

#: Classes of both faces, by name.
PAIRS = [name for name in sync.__all__ if inspect.isclass(getattr(sync, name)) and hasattr(hw, name)]
#: Only on one face, with the reason.
ONLY_ASYNC = {
    "Connecting": "what `connect` returns is awaited or entered; a synchronous one connects at once",
}
#: Members for the other modules of the package, not for programs.
INTERNAL = {"raw", "wire", "codec", "made", "forget", "face", "pattern", "url", "of"}


def public(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(kind):
        if not name.startswith("_") and name not in INTERNAL:
            found[name] = inspect.getattr_static(kind, name)
    return found


def test_every_class_has_its_twin() -> None:
    assert {"Connection", "Queue", "Stream", "Group", "Channel", "Source", "Reader", "Subscription", "Consumer", "DeadLetters"} <= set(PAIRS)
    iterating = {name for name in hw.__all__ if inspect.isclass(getattr(hw, name)) and hasattr(getattr(hw, name), "__aenter__")}
    assert iterating - set(sync.__all__) - set(ONLY_ASYNC) - {"Delivery"} == set()


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_members(name: str) -> None:
    ours, theirs = public(getattr(sync, name)), public(getattr(hw, name))
    assert set(ours) == set(theirs)


CALLABLES = [
    (name, member) for name in PAIRS if name != "Delivery" for member, found in public(getattr(hw, name)).items() if inspect.isroutine(found)
]


@pytest.mark.parametrize(("name", "member"), CALLABLES, ids=".".join)
def test_the_same_signature(name: str, member: str) -> None:
    ours = inspect.signature(getattr(getattr(sync, name), member)).parameters.values()
    theirs = inspect.signature(getattr(getattr(hw, name), member)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@pytest.mark.parametrize(("name", "member"), CALLABLES, ids=".".join)
def test_the_same_documentation(name: str, member: str) -> None:
    theirs = inspect.getdoc(getattr(getattr(hw, name), member))
    assert theirs, f"{name}.{member} has no docstring"
    assert inspect.getdoc(getattr(getattr(sync, name), member)) == theirs


def test_connect() -> None:
    ours, theirs = inspect.signature(sync.connect).parameters, inspect.signature(hw.connect).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [(p.name, p.kind, p.default) for p in theirs.values()]


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_of_sync_is_async(name: str) -> None:
    kind = getattr(sync, name)
    for member, found in vars(kind).items():
        assert not inspect.iscoroutinefunction(found), f"{name}.{member}"
    assert not hasattr(kind, "__aenter__") or name == "Delivery"


def test_every_parameter_is_documented() -> None:
    """What a method takes beyond the obvious, its docstring names."""
    obvious = {"self", "name", "value", "id", "type", "handler", "messages", "job_id", "items", "to", "before", "seconds", "op_timeout"}
    silent: list[str] = []
    for name, member in CALLABLES:
        function = getattr(getattr(hw, name), member)
        text = inspect.getdoc(function) or ""
        silent += [f"{name}.{member}: {p}" for p in inspect.signature(function).parameters if p not in obvious and p not in text]
    assert not silent, "\n".join(silent)
