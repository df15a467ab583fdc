"""Connect: both faces, every argument, and what a connection offers."""

from typing import Any, assert_type

import headwater as hw


async def as_a_block() -> None:
    async with hw.connect("local:./data") as conn:
        assert_type(conn, hw.Connection)


async def awaited() -> None:
    conn = await hw.connect("local:./data")
    assert_type(conn, hw.Connection)
    await conn.close()


def without_async() -> None:
    with hw.sync.connect("local:./data") as conn:
        assert_type(conn, hw.sync.Connection)
    conn = hw.sync.connect("local:./data")
    assert_type(conn, hw.sync.Connection)
    conn.close()


async def every_argument() -> None:
    async with hw.connect(url=None, name=None, codec="json", max_message_bytes=16 * 2**20, connect_timeout=10.0, op_timeout=30.0, options={}):
        pass
    with hw.sync.connect(url=None, name=None, codec="json", max_message_bytes=16 * 2**20, connect_timeout=10.0, op_timeout=30.0, options={}):
        pass


async def of_a_connection(conn: hw.Connection) -> None:
    assert_type(conn.capabilities, hw.Capabilities)
    assert_type(await conn.health(), hw.Health)
    assert_type(await conn.names(), list[hw.Info])
    await conn.flush()
    assert_type(conn.with_timeout(2.0), hw.Connection)
    await conn.drain(5.0)
    await conn.close()
    for name, count in conn.metrics().items():
        print(name, count)
    native: Any = conn.native
    print(native)


def of_a_sync_connection(conn: hw.sync.Connection) -> None:
    assert_type(conn.capabilities, hw.Capabilities)
    assert_type(conn.health(), hw.Health)
    assert_type(conn.names(), list[hw.Info])
    conn.flush()
    assert_type(conn.with_timeout(2.0), hw.sync.Connection)
    conn.drain(5.0)
    conn.close()
    for name, count in conn.metrics().items():
        print(name, count)
