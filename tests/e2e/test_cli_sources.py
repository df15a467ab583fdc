"""`put`, `group`, `dead`, `stats` and `delete` on queues and groups."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import headwater as hw

from .conftest import Cli


def test_put(cli: Cli) -> None:
    ids = cli("put", "jobs", '{"to": "ann"}', "text").ok().lines
    assert len(set(ids)) == 2
    (answer,) = cli("put", "jobs", "5", "--json").ok().objects
    assert set(answer) == {"id"}
    assert len(cli("put", "jobs", "-", stdin="a\nb\nc").ok().lines) == 3
    assert cli("put", "jobs", "d", "--quiet").ok().out == ""
    with cli.connect() as conn:
        jobs = conn.queue("jobs").take(100, wait=5)
        assert [job.value for job in jobs] == [{"to": "ann"}, "text", 5, "a", "b", "c", "d"]
        assert [job.id for job in jobs[:3]] == [*ids, answer["id"]]


def test_options_of_put(cli: Cli) -> None:
    cli("put", "jobs", "low", "--key", "k", "--header", "a=b", "--time", "2026-01-01T00:00Z", "--ttl", "1h").ok()
    cli("put", "jobs", "high", "--priority", "9").ok()
    cli("put", "jobs", "later", "--delay", "1h").ok()
    cli("put", "jobs", "once", "--delay", "2000-01-01T00:00Z").ok()
    first = cli("put", "jobs", "weekly", "--unique", "report").ok().out
    assert cli("put", "jobs", "weekly", "--unique", "report").ok().out == first
    cli("put", "jobs", "weekly", "--unique", "report", "--on-duplicate", "raise").refused(1, first.strip())
    cli("put", "jobs", "x", "--priority", "10").refused(2, "priority")
    with cli.connect() as conn:
        jobs = conn.queue("jobs")
        assert jobs.stats().delayed == 1
        taken = jobs.take(100, wait=5)
        assert [job.value for job in taken] == ["high", "low", "once", "weekly"]
        low = taken[1]
        assert (low.key, dict(low.headers), low.timestamp) == ("k", {"a": "b"}, datetime(2026, 1, 1, tzinfo=UTC))


def test_take(cli: Cli) -> None:
    cli("take", "jobs").refused(1, "no directory of headwater's")
    ids = cli("put", "jobs", "1", '{"to": "ann"}', "text").ok().lines
    assert cli("take", "jobs", "--max", "1").ok().lines == ["1"]
    second, third = cli("take", "jobs", "--json").ok().objects
    assert (second["value"], second["id"], second["attempt"], third["value"]) == ({"to": "ann"}, ids[1], 1, "text")
    assert {"key", "headers", "name", "timestamp", "position", "lease_until", "settled"} <= set(third)
    assert cli("take", "jobs", "--wait", "10ms").ok().out == ""
    cli("take", "jobs", "--max", "0").refused(2, "max")
    cli("take", "jobs", "--wait", "soon").refused(2, "--wait")
    cli("take", "mail").refused(1, "no queue or group")
    with cli.connect() as conn:
        stats = conn.queue("jobs").stats()
        assert (stats.acked_total, stats.ready, stats.leased) == (3, 0, 0)
        conn.stream("orders").append_many(["a", "b"])
        conn.stream("orders").group("billing").declare()
    assert cli("take", "orders/billing").ok().lines == ["a", "b"]


def test_a_full_queue(cli: Cli) -> None:
    """What went in is named; the rest is an error. (The last line is read apart, since it has no end.)"""
    with cli.connect() as conn:
        conn.queue("jobs", max_length=2).declare()
    done = cli("put", "jobs", "-", stdin="1\n2\n3\n4")
    assert done.code == 1
    assert len(done.lines) == 2
    assert done.err.startswith("headwater: 1 of 3 failed, first: ") and done.err.count("\n") == 1
    cli("put", "jobs", "5").refused(1, "jobs is full")


def test_stats_of_sources(cli: Cli) -> None:
    cli("put", "jobs", "1", "2").ok()
    cli("append", "orders", "1", "2", "3").ok()
    cli("group", "orders", "billing", "create").ok()
    (queue,) = cli("stats", "jobs", "--json").ok().objects
    fields = {field.name for kind in (hw.Info, hw.SourceStats) for field in dataclasses.fields(kind)}
    assert set(queue) == fields
    assert (queue["kind"], queue["ready"], queue["leased"], queue["dead"], queue["put_total"]) == ("queue", 2, 0, 0, 2)
    assert queue["oldest_age"] > 0
    stream, group = cli("stats", "orders", "--json").ok().objects
    assert (stream["kind"], stream["groups"]) == ("stream", ["billing"])
    assert set(group) == {*fields, "lag"}
    assert (group["kind"], group["parent"], group["name"], group["lag"]) == ("group", "orders", "billing", 3)
    assert cli("stats", "orders/billing", "--json").ok().objects[0]["lag"] == 3
    assert len(cli("stats", "--json").ok().objects) == 3
    text = cli("stats").ok().out
    for word in ("STREAM", "GROUP", "QUEUE", "orders/billing", "LAG", "DEAD", "OLDEST"):
        assert word in text
    assert cli("ls").ok().lines == ["stream  orders", "group   orders/billing", "queue   jobs"]


def test_looking_does_not_bring_back_what_was_deleted(cli: Cli) -> None:
    cli("put", "jobs", "1").ok()
    cli("append", "orders", "1").ok()
    cli("group", "orders", "billing", "create").ok()
    for kind, name in (("queue", "jobs"), ("group", "orders/billing"), ("stream", "orders")):
        cli("delete", kind, name, "--yes").ok()
    for arguments in (("stats", "jobs"), ("dead", "jobs"), ("group", "orders", "billing"), ("dead", "orders/billing"), ("read", "orders")):
        cli(*arguments).refused(1, "there is no")
    assert cli("ls").ok().lines == []


def test_group(cli: Cli) -> None:
    cli("append", "orders", "1", "2", "3").ok()
    cli("group", "orders", "billing").refused(1, "billing")
    cli("group", "orders", "billing", "create", "--ordering", "key", "--lease", "10", "--max-attempts", "2", "--start", "2").ok()
    config = cli("group", "orders", "billing", "config", "--json").ok().objects[0]
    assert (config["ordering"], config["lease"], config["retry"]["max_attempts"]) == ("key", 10.0, 2)
    cli("group", "orders", "billing", "create", "--ordering", "total").refused(1, "key", "total")
    assert cli("group", "orders", "billing", "lag").ok().out == "2\n"
    assert cli("group", "orders", "billing", "lag", "--json").ok().objects == [{"lag": 2}]
    cli("group", "orders", "billing", "seek", "earliest").ok()
    assert cli("group", "orders", "billing", "lag").ok().out == "3\n"
    cli("group", "orders", "billing", "seek", "latest").ok()
    assert cli("group", "orders", "billing", "lag").ok().out == "0\n"
    cli("group", "orders", "billing", "seek", "3@orders").ok()
    cli("group", "orders", "billing", "pause").ok()
    assert cli("group", "orders", "billing", "--json").ok().objects[0]["paused"] is True
    with cli.connect() as conn:
        billing = conn.stream("orders").group("billing")
        assert billing.take(10, wait=0.2) == []
        cli("group", "orders", "billing", "resume").ok()
        assert [message.value for message in billing.take(10, wait=5)] == [3]
    cli("group", "orders", "billing", "delete").refused(2, "--yes")
    cli("group", "orders", "billing", "delete", "--yes").ok()
    cli("group", "orders", "billing", "lag").refused(1, "billing")
    assert cli("ls").lines == ["stream  orders"]


@pytest.fixture
def dying(cli: Cli) -> Cli:
    """A queue with four dead letters (2 rejected, 2 failed) and one job that waits; a group with one dead letter."""
    with cli.connect() as conn:
        jobs = conn.queue("jobs", retry=hw.Retry(max_attempts=1))
        jobs.put_many(["a", "b", "c", {"d": 1}])
        for job in jobs.take(4, wait=5):
            if job.value in ("a", "b"):
                job.reject("no such address")
            else:
                with job.handled():
                    raise ValueError(f"bad {job.value}")
        orders = conn.stream("orders")
        orders.append("x")
        for message in orders.group("billing").take(1, wait=5):
            message.reject("unpaid")
        jobs.put("alive")
    return cli


def test_dead_letters_are_listed(dying: Cli) -> None:
    rows = dying("dead", "jobs").ok().lines
    assert len(rows) == 4
    assert "rejected: no such address" in rows[0] and rows[0].endswith(" a")
    assert "ValueError: bad c" in rows[2]
    letters = dying("dead", "jobs", "--json").ok().objects
    assert [letter["value"] for letter in letters] == ["a", "b", "c", {"d": 1}]
    assert [letter["reason"] for letter in letters] == ["rejected: no such address"] * 2 + ["max_attempts"] * 2
    assert {"error", "history", "died_at", "origin", "id", "key", "headers"} <= set(letters[0])
    assert letters[2]["history"][0]["error"] == "ValueError: bad c"
    assert set(letters[2]["history"][0]) == {field.name for field in dataclasses.fields(hw.Attempt)}
    assert [letter["value"] for letter in dying("dead", "jobs", "--filter", "BAD C", "--json").ok().objects] == ["c"]
    assert len(dying("dead", "jobs", "list", "--max", "3").ok().lines) == 3
    assert sorted(dying("dead", "jobs", "errors").ok().lines) == ["2  ValueError", "2  rejected: no such address"]
    shown = dying("dead", "jobs", "show", letters[2]["id"]).ok().out
    for text in ("max_attempts", "ValueError: bad c", "Traceback"):
        assert text in shown
    dying("dead", "jobs", "show", "7-7").refused(1, "no dead letter 7-7")
    assert dying("dead", "orders/billing", "--json").ok().objects[0]["origin"] == "orders/billing"
    dying("dead", "nosuch").refused(1, "no queue or group 'nosuch'", "headwater ls")


def test_dead_letters_are_edited_and_put_back(dying: Cli) -> None:
    first = dying("dead", "jobs", "--json").ok().objects[0]["id"]
    dying("dead", "jobs", "edit", first, '{"to": "bob"}').ok()
    dying("dead", "jobs", "edit", "7-7", "1").refused(1)
    assert dying("dead", "jobs", "redrive", first).ok().out == "1\n"
    assert dying("dead", "jobs", "redrive", first, "--json").ok().objects == [{"redriven": 0}]
    assert dying("dead", "jobs", "redrive", "--filter", "no such address").ok().out == "1\n"
    began = time.monotonic()
    assert dying("dead", "jobs", "redrive", "--rate", "2").ok().out == "2\n"
    assert time.monotonic() - began >= 0.5
    with dying.connect() as conn:
        # In the order of their ids, as before.
        assert [job.value for job in conn.queue("jobs").take(10, wait=5)] == [{"to": "bob"}, "b", "c", {"d": 1}, "alive"]
    assert dying("dead", "orders/billing", "redrive", "--max", "1").ok().out == "1\n"
    dying("dead", "jobs", "redrive", "--rate", "0").refused(2, "--rate")


def test_dead_letters_are_deleted(dying: Cli) -> None:
    dying("dead", "jobs", "purge").refused(2, "--yes")
    dying("dead", "jobs", "purge", "--yes", "--filter", "x").refused(2, "--filter")
    assert dying("dead", "jobs", "purge", "--yes").ok().out == "4\n"
    assert dying("dead", "jobs").ok().lines == []
    assert dying("dead", "orders/billing", "purge", "--yes", "--json").ok().objects == [{"purged": 1}]


def test_what_did_not_decode_is_shown_too(cli: Cli) -> None:
    """Its value is why it is dead."""
    cli("put", "jobs", "ten").ok()
    with cli.connect() as conn:
        assert conn.queue("jobs", int).take(1, wait=0.5) == []
    (letter,) = cli("dead", "jobs", "--json").ok().objects
    assert letter["reason"].startswith("undecodable")
    assert letter["value"] == "ten"


def test_a_name_that_is_a_queue_and_a_group(cli: Cli) -> None:
    with cli.connect() as conn:
        conn.queue("a/b").declare()
        conn.stream("a").group("b").declare()
    cli("dead", "a/b").refused(2, "--kind")
    assert cli("dead", "a/b", "--kind", "queue").ok().lines == []
    assert len(cli("stats", "a/b", "--json").ok().objects) == 2
    cli("delete", "group", "a/b", "--yes").ok()
    assert sorted(cli("ls").lines) == ["queue   a/b", "stream  a"]


def test_many_dead_letters(cli: Cli, tmp_path: Path) -> None:
    with cli.connect() as conn:
        jobs = conn.queue("jobs")
        jobs.put_many(list(range(1000)))
        for job in jobs.take(1000, wait=5):
            job.reject("no")
    assert [letter["value"] for letter in cli("dead", "jobs", "--json").ok().objects] == list(range(1000))
    assert len(cli("dead", "jobs").ok().lines) == 1000
    assert cli("dead", "jobs", "redrive", "--filter", "no", "--max", "600").ok().out == "600\n"
    assert cli("stats", "jobs", "--json").objects[0]["dead"] == 400
