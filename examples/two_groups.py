"""One stream, two groups: each gets everything, at its own pace; within a group the consumers share the work.

Run it: `python examples/two_groups.py`
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import headwater as hw


@dataclass
class Order:
    customer: str
    amount: int


async def main() -> None:
    async with hw.connect("memory:") as conn:
        orders = conn.stream("orders", Order)
        await orders.append_many([Order(f"c-{n % 5}", n) for n in range(100)])

        billed: list[int] = []
        mailed: set[str] = set()

        async def bill(msg: hw.Delivery[Order]) -> None:
            billed.append(msg.value.amount)

        async def mail(msgs: list[hw.Delivery[Order]]) -> None:
            mailed.update(msg.value.customer for msg in msgs)

        billing, mailing = orders.group("billing"), orders.group("mailing")
        running = [
            asyncio.create_task(billing.run(bill, concurrency=4)),
            asyncio.create_task(billing.run(bill, concurrency=4)),  # a second worker: they share
            asyncio.create_task(mailing.run(mail, batch=10)),
        ]
        while await billing.lag() or await mailing.lag():  # noqa: ASYNC110 - nothing tells when a lag is gone
            await asyncio.sleep(0.01)
        billing.stop()
        mailing.stop()
        await asyncio.gather(*running)

        assert sorted(billed) == list(range(100))
        print(f"billed {sum(billed)}, mailed {len(mailed)} customers")

        # A group that comes later begins where it likes, and disturbs nobody.
        audit = orders.group("audit", start="latest")
        await audit.declare()
        await orders.append(Order("c-9", 7))
        (msg,) = await audit.take(wait=5)
        await msg.ack()
        print(f"the audit saw {msg.value}; billing lags by {await billing.lag()}")


if __name__ == "__main__":
    asyncio.run(main())
