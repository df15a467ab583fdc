"""What the package exports: the pinned names are there, with the pinned parameters and defaults, and nothing leaks besides."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

import headwater as hw

#: Of the API page. More may be exported; none of these may go.
NAMES = [
    "connect", "sync", "Connection", "Channel", "Queue", "Stream", "Group", "Source", "Subscription", "Consumer", "Reader", "Message",
    "Delivery", "DeadLetter", "Attempt", "Item", "Position", "Checkpoint", "Retry", "RetryLater", "RejectMessage", "Retention", "Info",
    "Health", "SourceStats", "StreamInfo", "Feature", "Support", "Level", "Capabilities", "Codec", "HeadwaterError", "UsageError",
    "InvalidNameError", "ForkedError", "IncomparableError", "DeclarationError", "UnsupportedError", "ConnectError", "AuthenticationError",
    "IncompatibleError", "ConnectionLostError", "OperationTimeoutError", "UnconfirmedError", "ClosedError", "NotFoundError",
    "ConflictError", "DuplicateError", "TrimmedError", "TransactionError", "DecodeError", "EncodeError", "TooLargeError", "SchemaError",
    "FullError", "SlowConsumerError", "LeaseLostError", "CallTimeoutError", "NoResponderError", "OverloadedError", "RemoteError",
    "EntityError", "StorageError", "StorageFullError", "DurabilityError", "CorruptionError", "TaskFailedError", "TaskCancelledError",
    "TaskTimeoutError", "BatchError",
]  # fmt: skip

SYNC_NAMES = [
    "connect", "Connection", "Channel", "Queue", "Stream", "Group", "Source", "Subscription", "Consumer", "Reader", "Delivery",
]  # fmt: skip

#: The parameters with their defaults, as the API page writes them; `*` begins what is by keyword alone there or in practice.
SIGNATURES = {
    "connect": "url=None name=None codec='json' max_message_bytes=16777216 connect_timeout=10.0 op_timeout=30.0 options={}",
    "Item": "value key=None id=None headers=None time=None delay=0 priority=0 ttl=None unique=None",
    "Retry": "max_attempts=5 delay=1.0 factor=2.0 max_delay=300.0 jitter=0.1 on=(Exception,) give_up_on=()",
    "Retention": "age=None bytes=None records=None",
    "Connection.queue": "name type lease=None retry=None ordering=None unique_for=None max_length=None max_hold=None codec=None needs=()",
    "Connection.stream": "name type retention=None partitions=None codec=None needs=()",
    "Connection.channel": "name type codec=None needs=()",
    "Connection.with_timeout": "seconds",
    "Connection.drain": "timeout",
    "Connection.health": "",
    "Connection.names": "",
    "Connection.metrics": "",
    "Connection.flush": "",
    "Connection.close": "",
    "Channel.publish": "value key=None headers=None",
    "Channel.subscribe": "buffer=1024 overflow='drop_oldest'",
    "Queue.put": "value key=None delay=0 priority=0 ttl=None unique=None on_duplicate='return' headers=None time=None",
    "Queue.put_many": "items atomic=False",
    "Queue.cancel": "job_id",
    "Queue.purge": "",
    "Stream.append": "value key=None id=None expect=None expect_key=None headers=None time=None",
    "Stream.append_many": "items atomic=False",
    "Stream.read": "start='earliest' after=None last=None stop=None follow=False key=None trimmed='raise'",
    "Stream.info": "",
    "Stream.trim": "before",
    "Stream.group": "name ordering=None start=None lease=None retry=None max_hold=None",
    "Group.lag": "",
    "Group.seek": "to",
    "Source.consume": "prefetch=1 idle=None",
    "Source.run": "handler concurrency=1 batch=None timeout=None",
    "Source.take": "max=100 wait=1.0",
    "Source.ack_many": "deliveries",
    "Source.stats": "",
    "Source.pause": "",
    "Source.resume": "",
    "Subscription.next": "timeout=None",
    "Subscription.next_many": "max=1000 wait=0.0",
    "Reader.next": "timeout=None",
    "Consumer.next": "timeout=None",
    "Consumer.next_many": "max=1000 wait=0.0",
    "Consumer.stop": "",
}

EMPTY = inspect.Parameter.empty


def written(default: Any) -> str:
    return "(Exception,)" if default == (Exception,) else repr(default)


def parameters(root: types.ModuleType, path: str) -> dict[str, inspect.Parameter]:
    found: Any = root
    for name in path.split("."):
        found = getattr(found, name)
    values = dict(inspect.signature(found).parameters)
    if "." in path:
        values.pop("self", None)
    return values


@pytest.mark.parametrize("face", [hw, hw.sync], ids=["async", "sync"])
@pytest.mark.parametrize("path", SIGNATURES)
def test_pinned_parameters(path: str, face: types.ModuleType) -> None:
    if face is hw.sync and path in ("Item", "Retry", "Retention"):
        assert not hasattr(hw.sync, path) or getattr(hw.sync, path) is getattr(hw, path), "values are the same on both faces"
        return
    found = parameters(face, path)
    positional = [p for p in found.values() if p.kind is not p.KEYWORD_ONLY]
    for place, wanted in enumerate(SIGNATURES[path].split()):
        name, _, default = wanted.partition("=")
        if not default:
            # A required one may be called by its place, whatever the code calls it.
            assert len(positional) > place, f"{path} takes no argument {name}"
        elif name == "options":
            assert name in found
            assert found[name].default in (None, {}) or dict(found[name].default) == {}
        else:
            assert name in found, f"{path}({', '.join(map(str, found.values()))}) lacks {name}"
            got = found[name].default
            assert got is not EMPTY, f"{path}: {name} must have the default {default}"
            assert written(got) == default or got == eval(default), f"{path}: {name}={got!r}, not {default}"
    pinned = {wanted.partition("=")[0] for wanted in SIGNATURES[path].split()}
    extra = [p for p in found.values() if p.name not in pinned and p.default is EMPTY and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [wanted for wanted in SIGNATURES[path].split() if "=" not in wanted]
    assert len(extra) <= len(required), f"{path} demands more than is pinned: {extra}"


@pytest.mark.parametrize("name", NAMES)
def test_pinned_names(name: str) -> None:
    assert name in hw.__all__
    assert getattr(hw, name) is not None


@pytest.mark.parametrize("name", SYNC_NAMES)
def test_pinned_sync_names(name: str) -> None:
    assert name in hw.sync.__all__
    assert getattr(hw.sync, name) is not None


def test_nothing_leaks() -> None:
    """What is public in the package is in `__all__`, or one of its modules."""
    for module in (hw, hw.sync):
        assert sorted(module.__all__) == sorted(set(module.__all__)), "a name twice"
        for name in module.__all__:
            assert hasattr(module, name), name
    public = {name for name in vars(hw) if not name.startswith("_") and not isinstance(getattr(hw, name), types.ModuleType)}
    assert public <= set(hw.__all__), public - set(hw.__all__)


def test_all_that_is_public_is_documented() -> None:
    undocumented = [name for name in hw.__all__ if not name.startswith("_") and not inspect.getdoc(getattr(hw, name))]
    assert not undocumented, undocumented


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("Error")])
def test_errors_can_be_made_from_a_message(name: str) -> None:
    kind: Callable[..., BaseException] = getattr(hw, name)
    error = kind("what happened", [ValueError("x")]) if name == "BatchError" else kind("what happened")
    assert isinstance(error, hw.HeadwaterError)
    assert "what happened" in str(error)


def test_the_error_tree() -> None:
    def under(*names: str, of: str) -> None:
        for name in names:
            assert issubclass(getattr(hw, name), getattr(hw, of)), f"{name} is a {of}"

    under(*(name for name in NAMES if name.endswith("Error")), of="HeadwaterError")
    under("InvalidNameError", "ForkedError", "IncomparableError", of="UsageError")
    under("StorageFullError", "DurabilityError", "CorruptionError", of="StorageError")
    assert issubclass(hw.UsageError, ValueError)
    assert issubclass(hw.OperationTimeoutError, TimeoutError)
    assert issubclass(hw.CallTimeoutError, TimeoutError)
    assert issubclass(hw.BatchError, ExceptionGroup)


def test_import_is_light() -> None:
    """Nothing of a client library, of the command line, of numbers or plots."""
    heavy = {
        "typer", "rich", "click", "numpy", "pandas", "matplotlib", "pydantic", "uvloop", "redis", "aio_pika", "confluent_kafka", "pulsar",
        "zmq", "pynng", "opentelemetry", "prometheus_client", "starlette", "multiprocessing",
    }  # fmt: skip
    code = "import sys, headwater; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not heavy & {name.partition(".")[0] for name in done.stdout.split()}
