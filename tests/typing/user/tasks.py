"""What programs do with the calls besides awaiting them: tasks, groups of tasks, time-outs."""

import asyncio
from typing import assert_type

import headwater as hw
from models import Job, Order


async def in_tasks(orders: hw.Stream[Order], jobs: hw.Queue[Job], chat: hw.Channel[str], src: hw.Source[Job]) -> None:
    async with asyncio.TaskGroup() as group:
        appended = group.create_task(orders.append(Order("a"), key="k"))
        put = group.create_task(jobs.put(Job("https://example.org")))
        published = group.create_task(chat.publish("hello"))
        taken = group.create_task(src.take(max=10))
    assert_type(appended.result(), hw.Position)
    assert_type(put.result(), str)
    assert_type(published.result(), int | None)
    assert_type(taken.result(), list[hw.Delivery[Job]])


async def settled(msgs: list[hw.Delivery[Job]], consumer: hw.Consumer[Job]) -> None:
    await asyncio.gather(*(msg.ack() for msg in msgs))
    await asyncio.create_task(msgs[0].retry(delay=1))
    following = asyncio.create_task(consumer.next())
    assert_type(await asyncio.wait_for(following, 1), hw.Delivery[Job] | None)
