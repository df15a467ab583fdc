"""Event time: records that say when they happened, asked for by that time, and a whole day played again to a new group.

Run it: `python examples/replay_by_time.py`
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

import headwater as hw


class Reading(msgspec.Struct):
    sensor: str
    celsius: float


DAY = datetime(2013, 7, 4, tzinfo=UTC)


async def main() -> None:
    async with hw.connect("memory:") as conn:
        readings = conn.stream("readings", Reading)
        # Written now, of long ago: `time=` is when it happened.
        for minute in range(0, 24 * 60, 10):
            for sensor in ("roof", "cellar"):
                celsius = 20 + minute / 100 if sensor == "roof" else 12.0
                await readings.append(Reading(sensor, celsius), key=sensor, time=DAY + timedelta(minutes=minute))

        # One hour of one sensor.
        noon = DAY + timedelta(hours=12)
        async with readings.read(start=noon, stop=noon + timedelta(hours=1), key="roof") as hour:
            found = [msg async for msg in hour]
        assert [msg.timestamp for msg in found] == [noon + timedelta(minutes=10 * n) for n in range(6)]
        print(f"the roof at noon: {found[0].value.celsius}°")

        # A reader's place can be kept as text, and gone on from in another process.
        async with readings.read() as reader:
            first = await reader.next_many(max=100)
            place = str(reader.checkpoint)
        rest = [msg async for msg in readings.read(after=hw.Checkpoint.parse(place))]
        assert len(first) + len(rest) == 288
        print(f"went on behind {place}")

        # A new group replays from the evening on, then once more from the beginning.
        warm = readings.group("warm", start=DAY + timedelta(hours=18))
        evening = await warm.take(max=1000, wait=5)
        assert not await warm.ack_many(evening)
        await warm.seek("earliest")
        day = await warm.take(max=1000, wait=5)
        assert not await warm.ack_many(day)
        print(f"{len(evening)} in the evening, {len(day)} all day")


if __name__ == "__main__":
    asyncio.run(main())
