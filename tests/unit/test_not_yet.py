"""What a later version has is an UnsupportedError in this one: programs that can do without it catch that."""

from __future__ import annotations

from typing import Any

import pytest

import headwater as hw

NAMES = ["table", "entities", "call", "serve", "survey", "transaction", "snapshot"]


@pytest.mark.parametrize("name", NAMES)
async def test_methods_of_a_connection(name: str) -> None:
    with hw.sync.connect("memory:") as conn:
        async with hw.connect("memory:") as other:
            for each in (conn, other):
                method: Any = getattr(each, name)
                with pytest.raises(hw.UnsupportedError, match=f"memory does not support {name}") as caught:
                    method("prices", int, returns=int)
                assert caught.value.engine == "memory"
                assert caught.value.how and caught.value.instead


def test_what_no_version_has() -> None:
    with hw.sync.connect("memory:") as conn:
        missing: Any = conn
        with pytest.raises(AttributeError, match="'Connection' object has no attribute 'tables'"):
            missing.tables("prices")


@pytest.mark.parametrize(
    "url", ["redis://ada:s3cret@h", "rediss://h", "amqp://h", "kafka://h:1,h2", "pulsar+ssl://h", "zmq+ipc:/run/x", "nng+tcp://h:1"]
)
def test_engines(url: str) -> None:
    for connect in (hw.connect, hw.sync.connect):
        with pytest.raises(hw.UnsupportedError, match="no such engine yet") as caught:
            connect(url)
        assert caught.value.engine == url.partition(":")[0].partition("+")[0].replace("rediss", "redis")
        assert caught.value.instead and "s3cret" not in str(caught.value)
