"""Writes docs/reference/ (all but the command line) from the code: `python scripts/api_reference.py`. A test holds that it is up to date.

One page a topic, from signatures, docstrings and `CAPABILITIES`. What a docstring shows as code stays there: on the pages of guides it runs.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import headwater as hw
from headwater import errors
from headwater.capabilities import PATTERNS, Capabilities, Feature

DIRECTORY = Path(__file__).resolve().parent.parent / "docs" / "reference"

#: Page, title, what stands first, and the names of `headwater` on it.
TOPICS: dict[str, tuple[str, str, list[str]]] = {
    "connection": (
        "Connections",
        "The same names without async are in `headwater.sync`; only `await`, `async with` and `async for` fall away.",
        ["connect", "Connecting", "Connection", "Info", "Health", "ConsumerHealth"],
    ),
    "channels": ("Channels", "See [the guide](../guides/channels.md).", ["Channel", "Subscription"]),
    "queues": (
        "Queues and groups",
        "A queue and a group are both a `Source`. See the guides on [queues](../guides/queues.md) and [groups](../guides/groups.md).",
        ["Source", "Queue", "Group", "Consumer", "SourceStats", "Retry", "RetryLater", "RejectMessage", "DeadLetters", "DeadReader"],
    ),
    "streams": (
        "Streams", "See [the guide](../guides/streams.md).", ["Stream", "Reader", "Position", "Checkpoint", "Retention", "StreamInfo"],
    ),
    "messages": (
        "Messages and codecs", "See [the guide on types](../guides/types.md).",
        ["Message", "Delivery", "DeadLetter", "Attempt", "Item", "Codec", "CodecContext"],
    ),
}  # fmt: skip

ENGINES = ("memory", "local", "redis", "rabbitmq", "kafka", "pulsar", "zmq", "nng")


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    found = {f"{name}.md": _topic(*topic) for name, topic in TOPICS.items()}
    found["errors.md"] = _errors()
    found["capabilities.md"] = _capabilities()
    return found


def _topic(title: str, begin: str, names: list[str]) -> str:
    parts = [f"# {title}", begin]
    for name in names:
        parts += _object(name, getattr(hw, name))
    return "\n\n".join(parts) + "\n"


def _object(name: str, value: Any) -> Iterator[str]:
    yield f"## {name}"
    if inspect.isfunction(value):
        yield f"`{name}{_signature(value)}`"
        yield _text(value)
        return
    yield _text(value)
    if dataclasses.is_dataclass(value):
        yield f"Fields: {', '.join(f'`{_field(field)}`' for field in dataclasses.fields(value))}"
    for member, found in _members(value):
        if isinstance(found, Callable | staticmethod | classmethod):  # type: ignore[arg-type] # a Callable is a class for isinstance
            yield f"### {name}.{member}"
            yield f"`{'await ' if _is_awaited(value, member) else ''}{member}{_signature(getattr(value, member))}`"
            yield _text(getattr(value, member))
    attributes = [(member, found) for member, found in _members(value) if not isinstance(found, Callable | staticmethod | classmethod)]  # type: ignore[arg-type] # likewise
    if attributes and not dataclasses.is_dataclass(value):
        yield "\n".join(
            ["| attribute | |", "|---|---|", *(f"| `.{member}` | {_text(found).replace(chr(10), ' ')} |" for member, found in attributes)]
        )


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """What a class and its private bases define, in the order of the source; the bases that have a place of their own not again."""
    seen = set[str]()
    for kind in value.__mro__:
        if kind is object or (kind is not value and kind.__name__ in hw.__all__) or kind.__module__ in ("typing", "builtins"):
            continue
        # The order in a native class is of no meaning, and not always the same.
        own = sorted(vars(kind).items()) if kind.__module__ == "headwater._engine" else vars(kind).items()
        for name, found in own:
            internal = name.startswith("_") or name in seen or isinstance(found, types.MemberDescriptorType)
            text = inspect.getdoc(found) or ""
            if internal or name in INTERNAL or not text or text.endswith(FOR_OTHERS):
                continue
            seen.add(name)
            yield name, found


#: For the other modules of the package.
FOR_OTHERS = (", for groups.", "for patterns.", "for a backend.")
INTERNAL = {"wire", "made", "forget", "face", "of", "token", "source", "mark_settled", "pattern"}


def _is_awaited(kind: type, member: str) -> bool:
    function = inspect.getattr_static(kind, member)
    function = getattr(function, "__func__", function)
    if inspect.iscoroutinefunction(function):
        return True
    if kind is hw.Delivery:
        return member in ("ack", "retry", "reject", "extend")
    hint = getattr(function, "__annotations__", {}).get("return", "")
    return str(hint).startswith("Coroutine[")


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for name, p in signature.parameters.items() if name not in ("self", "cls")]
    return re.sub(r"mappingproxy\(\{\}\)", "{}", str(signature.replace(parameters=parameters, return_annotation=signature.empty)))


def _field(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if default is dataclasses.MISSING:
        return field.name
    return f"{field.name}=(Exception,)" if default == (Exception,) else f"{field.name}={default!r}"


def _text(value: Any) -> str:
    """A docstring as Markdown, without its code."""
    text = inspect.getdoc(value) or ""
    text = re.sub(r"\n*```python\n.*?```\n?", "\n", text, flags=re.DOTALL)
    # Sections, as in `Args:` with indented lines, become lists.
    lines: list[str] = []
    inside = named = False
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Returns|Raises):", line):
            lines += ["", f"**{line}**", ""]
            inside, named = True, line != "Returns:"
        elif inside and line.startswith("        "):
            lines[-1] += f" {line.strip()}"
        elif inside and line.startswith("    "):
            name, colon, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon and named and re.fullmatch(r"[\w, ]+", name) else f"- {line.strip()}")
        else:
            inside = False
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _errors() -> str:
    tree = inspect.getdoc(errors) or ""
    drawing = "\n".join(line for line in tree.splitlines() if re.match(r"[│├└H]", line) and "Error" in line)
    kinds = "\n".join(f"| `{name}` | {_text(getattr(errors, name)).replace(chr(10), ' ')} |" for name in errors.__all__)
    return f"""\
# Errors

What every exception of the library is; [when things go wrong](../guides/errors.md) says what to do. The original, where there is one,
is `__cause__`.

```text
{drawing}
```

| | |
|---|---|
{kinds}
"""


def _capabilities() -> str:
    tables: dict[str, Capabilities] = {name: importlib.import_module(f"headwater.backends.{name}").CAPABILITIES for name in ENGINES}
    parts = [
        """\
# What the engines guarantee

From the `CAPABILITIES` of each backend, which a program reads as `conn.capabilities`. **Yes**: native. *How*: emulated by these means.
A blank: refused, with the reason below. Built today: `memory` and `local`; the other columns say what their engines can be made to do,
and what `memory:?as=ENGINE` refuses.""",
        "| | acknowledged means | survives the death of |\n|---|---|---|\n"
        + "\n".join(f"| `{name}` | {table.acknowledged} | {', '.join(sorted(table.survives)) or 'nothing'} |" for name, table in tables.items()),
    ]
    for pattern in PATTERNS:
        engines = {name: table.pattern(pattern) for name, table in tables.items()}
        parts.append(f"## {pattern.capitalize()}s" if pattern != "entity" else "## Entities")
        if not any(engines.values()):
            parts.append("\n".join(f"- `{name}`: {support.supported.how}" for name, support in engines.items()))
            continue
        named = {name: support for name, support in engines.items() if support}
        features = [feature for feature in Feature if any(support[feature] for support in named.values())]
        parts.append(
            "\n".join(
                [
                    f"| | {' | '.join(f'`{name}`' for name in named)} |",
                    f"|---|{'---|' * len(named)}",
                    *(f"| {feature} | {' | '.join(_cell(support[feature]) for support in named.values())} |" for feature in features),
                ]
            )
        )
        reasons: dict[str, list[str]] = {}
        for name, support in engines.items():
            if not support:
                reasons.setdefault(f"no {pattern}s: {_why(support.supported)}", []).append(f"`{name}`")
                continue
            for feature in Feature:
                if not support[feature] and feature in support.features:
                    reasons.setdefault(f"{feature}: {_why(support[feature])}", []).append(f"`{name}`")
        parts.append("\n".join(f"- {', '.join(names)}: {reason}" for reason, names in sorted(reasons.items())))
    return "\n\n".join(parts) + "\n"


def _cell(support: hw.Support) -> str:
    if support.level is hw.Level.REFUSED:
        return ""
    limits = ", ".join(f"{name}={value}" for name, value in support.limits.items())
    native = support.level is hw.Level.NATIVE
    text = f"*{support.how}*" if not native else f"yes{f', {support.how}' if support.how else ''}"
    return f"{text} ({limits})" if limits else text


def _why(support: hw.Support) -> str:
    return f"{support.how}; instead: {support.instead}" if support.instead else support.how


def write() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in pages().items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    write()
