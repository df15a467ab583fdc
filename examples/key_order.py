"""Order by key: one account's bookings one at a time and in order, many accounts side by side, also when one keeps failing.

Run it: `python examples/key_order.py`
"""

from __future__ import annotations

import asyncio
import collections

import headwater as hw


async def main() -> None:
    async with hw.connect("memory:") as conn:
        bookings = conn.stream("bookings", int)
        for n in range(20):
            for account in ("ann", "bob", "eve"):
                await bookings.append(n, key=account)

        ledger = bookings.group("ledger", ordering="key", retry=hw.Retry(max_attempts=None, delay=0.05, jitter=0))
        seen: dict[str, list[int]] = collections.defaultdict(list)
        finished: list[str] = []
        failures = 0

        async def book(msg: hw.Delivery[int]) -> None:
            nonlocal failures
            assert msg.key is not None
            if msg.key == "eve" and msg.value == 3 and msg.attempt < 4:
                failures += 1
                raise hw.RetryLater(0.1)
            await asyncio.sleep(0.001)
            seen[msg.key].append(msg.value)
            if msg.value == 19:
                finished.append(msg.key)
            if len(finished) == 3:
                ledger.stop()

        await ledger.run(book, concurrency=8)
        assert all(numbers == list(range(20)) for numbers in seen.values()), "each in its order"
        assert finished[-1] == "eve", "who failed held up nobody else"
        print(f"three accounts in order, {failures} failures of one of them")


if __name__ == "__main__":
    asyncio.run(main())
