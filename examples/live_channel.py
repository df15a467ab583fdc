"""A channel: who listens now, hears. A slow listener loses the oldest, is told how many, and holds up nobody.

Run it: `python examples/live_channel.py`
"""

from __future__ import annotations

import asyncio
from typing import TypedDict

import headwater as hw


class Tick(TypedDict):
    symbol: str
    price: float


async def main() -> None:
    async with hw.connect("memory:") as conn:
        hw_prices = conn.channel("prices.nyse.HW", Tick)
        # Nobody listens yet: this is heard by none, and kept nowhere.
        assert await hw_prices.publish(Tick(symbol="HW", price=1.0)) == 0

        async with (
            conn.channel("prices.nyse.*", Tick).subscribe() as attentive,
            conn.channel("prices.**", Tick).subscribe(buffer=10, overflow="drop_oldest") as slow,
        ):
            for cents in range(100):
                reached = await hw_prices.publish(Tick(symbol="HW", price=cents / 100))
                assert reached == 2
            heard = await attentive.next_many(max=1000)
            assert [msg.value["price"] for msg in heard] == [cents / 100 for cents in range(100)]
            late = await slow.next_many()
            assert slow.dropped + len(late) == 100
            print(f"{len(heard)} ticks heard; the slow one heard the last {len(late)} and dropped {slow.dropped}")


if __name__ == "__main__":
    asyncio.run(main())
