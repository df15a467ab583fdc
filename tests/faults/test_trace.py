"""What `doctor.trace` says of a message in every place it can be in, and of how it came there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import doctor


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"local:{tmp_path / 'dir'}"


def life(url: str, name: str, id: Any) -> doctor.Trace:
    (found,) = doctor.trace(url, name, id)
    return found


def told(found: doctor.Trace) -> list[tuple[str, int | None]]:
    return [(event.what, event.attempt) for event in found.events]


def test_a_job_from_put_to_done(url: str) -> None:
    with hw.sync.connect(url, name="shop") as conn:
        jobs = conn.queue("crawl", str)
        id = jobs.put("a job", key="k")
        found = life(url, "crawl", id)
        assert (found.source, found.id, found.state, found.attempts) == ("queue crawl", id, "waiting", 0)
        assert told(found) == [("stored", None)] and "nobody has come to it yet" in found.why
        assert found.stored is not None and found.stored.key == b"k" and found.stored.bytes == len("a job")
        assert abs(found.stored.at - datetime.now(UTC)) < timedelta(seconds=30)
        (message,) = jobs.take(wait=1.0)
        found = life(url, "crawl", id)
        assert (found.state, found.attempts) == ("leased", 1)
        assert found.holder is not None and str(os.getpid()) in found.holder and found.holder in found.why
        assert told(found) == [("stored", None), ("delivered", 1)] and found.events[1].by == found.holder
        message.ack()
        found = life(url, "crawl", id)
        assert (found.state, found.holder) == ("done", None) and "done" in found.why
        assert told(found) == [("stored", None), ("delivered", 1), ("done", 1)]
        assert [event.time for event in found.events] == sorted(event.time for event in found.events)
        assert found.kept_from is None


def test_retries_and_their_errors(url: str) -> None:
    with hw.sync.connect(url) as conn:
        jobs = conn.queue("crawl", str, retry=hw.Retry(max_attempts=3, delay=0.0, jitter=0.0))
        id = jobs.put("a job")
        for _ in range(2):
            (message,) = jobs.take(wait=2.0)
            with pytest.raises(ValueError, match="no such page"), message:
                raise ValueError("no such page")
        found = life(url, "crawl", id)
        assert (found.state, found.attempts) == ("delayed", 2)
        assert told(found) == [("stored", None), ("delivered", 1), ("failed", 1), ("delivered", 2), ("failed", 2)]
        assert found.events[2].error == "ValueError: no such page" and found.events[2].due is not None
        (message,) = jobs.take(wait=2.0)
        message.reject("gone for good")
        found = life(url, "crawl", id)
        assert found.state == "dead" and "redriven" in found.why
        assert told(found)[-2:] == [("delivered", 3), ("dead", 3)]
        assert "gone for good" in (found.events[-1].note or "")
        jobs.dead.redrive()
        found = life(url, "crawl", id)
        assert (found.state, found.attempts, told(found)[-1][0]) == ("ready", 0, "redriven")
        (message,) = jobs.take(wait=2.0)
        assert message.attempt == 1 and told(life(url, "crawl", id))[-1] == ("delivered", 1)
        message.ack()


def test_what_waits_says_for_what(url: str) -> None:
    with hw.sync.connect(url) as conn:
        jobs = conn.queue("crawl", str, ordering="key", retry=hw.Retry(delay=60.0, jitter=0.0))
        delayed = jobs.put("later", delay=60)
        found = life(url, "crawl", delayed)
        assert found.state == "waiting" and "due in" in found.why and found.due is not None
        first, second = jobs.put_many([hw.Item("first", key="k"), hw.Item("second", key="k")])
        taken = jobs.take(max=10, wait=0.5)
        assert [message.value for message in taken] == ["first"]
        found = life(url, "crawl", second)
        assert found.state == "parked" and first.split("-")[1] in found.why and "same key" in found.why
        found = life(url, "crawl", delayed)
        assert found.state == "delayed" and "put with a delay" in found.why
        taken[0].retry()
        found = life(url, "crawl", first)
        assert found.state == "delayed" and "attempt 1 failed" in found.why and found.due is not None
        assert timedelta(seconds=50) < found.due - datetime.now(UTC) <= timedelta(seconds=60)
        other = jobs.put("other")
        jobs.pause()
        assert "paused" in life(url, "crawl", other).why
        jobs.resume()
        jobs.cancel(other)
        found = life(url, "crawl", other)
        assert found.state == "done" and "cancelled" in found.why


def test_priorities_and_time_to_live(url: str) -> None:
    with hw.sync.connect(url) as conn:
        jobs = conn.queue("crawl", str)
        id = jobs.put("short", priority=3, ttl=0.01)
        assert id.startswith("3-") and life(url, "crawl", id).state == "waiting"
        time.sleep(0.05)
        assert jobs.take(wait=0.1) == []
        found = life(url, "crawl", id)
        assert found.state == "done" and "time to live" in found.why
        with pytest.raises(hw.NotFoundError):
            doctor.trace(url, "crawl", "7-1")


def test_a_process_that_died_with_it(url: str) -> None:
    code = (
        "import sys, headwater as hw\n"
        "conn = hw.sync.connect(sys.argv[1], name='victim').__enter__()\n"
        "held = conn.queue('crawl', str).take(wait=5.0)\nprint(len(held), flush=True)\nsys.stdin.read()"
    )
    with hw.sync.connect(url) as conn:
        jobs = conn.queue("crawl", str)
        id = jobs.put("a job")
        victim = subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert victim.stdout is not None and victim.stdout.readline() == b"1\n"
        found = life(url, "crawl", id)
        assert found.holder is not None and "victim" in found.holder and str(victim.pid) in found.holder
        victim.kill()
        with victim:
            pass
        (message,) = jobs.take(wait=5.0)
        assert message.attempt == 2
        found = life(url, "crawl", id)
        assert told(found) == [("stored", None), ("delivered", 1), ("expired", 1), ("delivered", 2)]
        assert found.events[1].by == "a process that has ended" and "process ended" in (found.events[2].note or "")


def test_a_record_in_each_group(url: str) -> None:
    with hw.sync.connect(url) as conn:
        orders = conn.stream("orders", str)
        positions = orders.append_many(["a", "b", "c"])
        alone = life(url, "orders", positions[1])
        assert (alone.source, alone.state) == ("stream orders", "stored")
        billing, mailing = orders.group("billing"), orders.group("mailing")
        mailing.declare()
        for message in billing.take(max=2, wait=1.0):
            message.ack()
        found = {each.source: each for each in doctor.trace(url, "orders", str(positions[1]))}
        assert {name: each.state for name, each in found.items()} == {"group orders/billing": "done", "group orders/mailing": "waiting"}
        assert "1 are before it" in found["group orders/mailing"].why
        assert life(url, "orders/billing", "3").state == "waiting"
        billing.seek("earliest")
        found_again = life(url, "orders/billing", positions[0])
        assert found_again.state == "waiting" and told(found_again)[-1][0] == "sought"
        mailing.seek("latest")
        assert life(url, "orders/mailing", positions[0]).state == "done"


@pytest.mark.parametrize(
    ("name", "id", "error"),
    [
        ("nothing", "0-1", hw.NotFoundError),
        ("crawl", "0-99", hw.NotFoundError),
        ("crawl", "x", hw.UsageError),
        ("orders", "x", hw.UsageError),
        ("orders", "99", hw.NotFoundError),
        ("orders", "1@other", hw.UsageError),
    ],
)
def test_what_never_was(url: str, name: str, id: str, error: type[Exception]) -> None:
    with hw.sync.connect(url) as conn:
        conn.stream("orders", str).append("x")
        conn.queue("crawl", str).put("x")
    with pytest.raises(error) as caught:
        doctor.trace(url, name, id)
    assert id.partition("@")[0] in str(caught.value) or name in str(caught.value)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(hw.ConnectError):
        doctor.trace(f"local:{tmp_path / 'missing'}", "crawl", "0-1")
    assert list(tmp_path.iterdir()) == []
