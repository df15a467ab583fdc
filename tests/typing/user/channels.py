"""Channels: who listens now, hears."""

from typing import Any, assert_type

import headwater as hw
from models import ChatLine


async def publish_and_subscribe(conn: hw.Connection) -> None:
    chat = conn.channel("chat.lobby", ChatLine)
    async with chat.subscribe(buffer=1024, overflow="drop_oldest") as sub:
        assert_type(sub, hw.Subscription[ChatLine])
        reached = await chat.publish(ChatLine(who="ann", text="hi"), key=None, headers=None)
        assert_type(reached, int | None)
        async for msg in sub:
            assert_type(msg, hw.Message[ChatLine])
            print(msg.value["text"])
        assert_type(sub.dropped, int)
        assert_type(sub.gaps, int)
        assert_type(await sub.next(timeout=1.0), hw.Message[ChatLine] | None)
        assert_type(await sub.next_many(max=10, wait=0.5), list[hw.Message[ChatLine]])
        await sub.ready(peers=1)
        sub.stop()
    async with conn.channel("chat.*").subscribe() as everything:
        assert_type(everything, hw.Subscription[Any])


def without_async(conn: hw.sync.Connection) -> None:
    chat = conn.channel("chat.lobby", ChatLine)
    with chat.subscribe(buffer=1024, overflow="block") as sub:
        assert_type(sub, hw.sync.Subscription[ChatLine])
        assert_type(chat.publish(ChatLine(who="ann", text="hi")), int | None)
        for msg in sub:
            assert_type(msg, hw.Message[ChatLine])
        assert_type(sub.next(timeout=1.0), hw.Message[ChatLine] | None)
        assert_type(sub.next_many(max=10), list[hw.Message[ChatLine]])
        sub.stop()


async def refused(chat: hw.Channel[ChatLine]) -> None:
    await chat.publish("hi")  # type: ignore  # a ChatLine was declared
    chat.subscribe(overflow="drop")  # type: ignore  # one of four words
