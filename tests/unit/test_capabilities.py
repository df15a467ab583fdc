"""What engines can do, as values, and how `memory:?as=` refuses what another engine refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import headwater as hw
from headwater import Feature
from headwater.backends import kafka, local, memory, nng, pulsar, rabbitmq, redis, zmq
from headwater.capabilities import PATTERNS, Capabilities, PatternSupport, Support

TABLES: dict[str, Capabilities] = {
    module.__name__.rpartition(".")[2]: module.CAPABILITIES for module in (local, memory, kafka, nng, pulsar, rabbitmq, redis, zmq)
}
IMITATED = ["redis", "amqp", "rabbitmq", "kafka", "pulsar", "zmq", "nng", "local"]


@pytest.mark.parametrize("engine", TABLES)
def test_every_refusal_has_a_reason(engine: str) -> None:
    for pattern in PATTERNS:
        table = TABLES[engine].pattern(pattern)
        if not table:
            assert table.supported.how, f"{engine} gives no reason why it has no {pattern}"
            continue
        for feature in Feature:
            if not table[feature]:
                assert table[feature].how, f"{engine}, {pattern}, {feature}"


@pytest.mark.parametrize("engine", TABLES)
def test_a_refusal_says_how_and_what_instead(engine: str) -> None:
    capabilities = TABLES[engine]
    for pattern in PATTERNS:
        for feature in Feature:
            if capabilities.pattern(pattern)[feature]:
                capabilities.require(pattern, [feature])
                continue
            with pytest.raises(hw.UnsupportedError) as caught:
                capabilities.require(pattern, [feature])
            error = caught.value
            assert (error.engine, error.how) == (capabilities.engine, capabilities.pattern(pattern)[feature].how)
            assert error.feature in (feature, None)
            assert error.how in str(error)


def test_one_feature() -> None:
    found = local.CAPABILITIES.queue[Feature.DELAY]
    assert (found.level, dict(found.limits)) == (hw.Level.NATIVE, {"tolerance_s": 0.05})
    assert local.CAPABILITIES.queue["DELAY"] is found  # type: ignore[index] # by its word too
    assert set(local.CAPABILITIES.queue) == set(Feature)
    with pytest.raises(hw.UsageError, match="TELEPORT"):
        local.CAPABILITIES.queue["TELEPORT"]  # type: ignore[index]
    with pytest.raises(hw.UsageError, match="TELEPORT"):
        local.CAPABILITIES.require("queue", ["TELEPORT"])
    with pytest.raises(hw.UsageError, match="not a pattern"):
        local.CAPABILITIES.pattern("telegraph")


def test_what_a_probe_found_replaces_single_features() -> None:
    changed = local.CAPABILITIES.but({"queue": {Feature.DELAY: Support.refused("no clock")}}, server="7.2")
    assert not changed.queue[Feature.DELAY]
    assert changed.queue[Feature.TTL]
    assert changed.server == "7.2"
    assert local.CAPABILITIES.queue[Feature.DELAY]
    assert not PatternSupport(Support.refused("none"))


@pytest.mark.parametrize("engine", IMITATED)
def test_imitation_never_adds(engine: str) -> None:
    """`?as=` refuses what that engine refuses, and grants nothing that memory does not have."""
    other = TABLES[{"amqp": "rabbitmq"}.get(engine, engine)]
    with hw.sync.connect(f"memory:?as={engine}") as conn:
        found = conn.capabilities
        assert engine in found.engine
        for pattern in PATTERNS:
            for feature in Feature:
                granted = bool(found.pattern(pattern)[feature])
                assert granted == bool(memory.CAPABILITIES.pattern(pattern)[feature] and other.pattern(pattern)[feature]), (pattern, feature)


REFUSED_BY_KAFKA: dict[str, Callable[[hw.sync.Connection], object]] = {
    "UNIQUE": lambda c: c.queue("q").put(1, unique="u"),
    "UNIQUE of an item": lambda c: c.queue("q").put_many([hw.Item(1, unique="u")]),
    "UNIQUE by unique_for": lambda c: c.queue("q", unique_for=3),
    "MAX_LENGTH": lambda c: c.queue("q", max_length=3),
    "CANCEL": lambda c: c.queue("q").cancel("0-1"),
    "IDEMPOTENT_APPEND": lambda c: c.stream("s").append(1, id="i"),
    "IDEMPOTENT_APPEND of an item": lambda c: c.stream("s").append_many([hw.Item(1, id="i")]),
    "EXPECT": lambda c: c.stream("s").append(1, expect="empty"),
    "EXPECT_KEY": lambda c: c.stream("s").append(1, key="k", expect_key="absent"),
    "TRANSACTION": lambda c: c.stream("s", needs=[Feature.TRANSACTION]),
    "UNIQUE by needs": lambda c: c.queue("q", needs=["DELAY", "UNIQUE"]),
}


@pytest.mark.parametrize("name", REFUSED_BY_KAFKA)
def test_refused_before_anything_is_sent(name: str) -> None:
    with hw.sync.connect("memory:?as=kafka") as conn:
        conn.stream("s").declare()
        conn.queue("q").declare()
        with pytest.raises(hw.UnsupportedError) as caught:
            REFUSED_BY_KAFKA[name](conn)
        assert caught.value.feature == name.split()[0]
        assert caught.value.engine == "memory as kafka"
        assert caught.value.how
        assert caught.value.instead
        assert conn.stream("s").info().records == 0
        assert conn.queue("q").stats().put_total == 0


@pytest.mark.parametrize(
    ("engine", "use"),
    [
        ("zmq", lambda c: c.stream("s")),
        ("nng", lambda c: c.stream("s")),
        ("redis", lambda c: c.queue("q", needs="TRANSACTION")),
        ("rabbitmq", lambda c: c.stream("s").append(1, expect="empty")),
    ],
)
def test_other_engines_refuse_too(engine: str, use: Callable[[Any], object]) -> None:
    with hw.sync.connect(f"memory:?as={engine}") as conn, pytest.raises(hw.UnsupportedError) as caught:
        use(conn)
    assert caught.value.instead


@pytest.mark.parametrize(
    ("url", "acknowledged", "survives"),
    [
        ("memory:", "memory", set()),
        ("local:{}", "page-cache", {"process"}),
        ("local:{}?durability=never", "page-cache", {"process"}),
        ("local:{}?durability=always", "fsync", {"process", "power"}),
    ],
)
def test_what_an_acknowledgement_means(url: str, acknowledged: str, survives: set[str], tmp_path: Any) -> None:
    with hw.sync.connect(url.format(tmp_path / "d")) as conn:
        assert (conn.capabilities.acknowledged, set(conn.capabilities.survives)) == (acknowledged, survives)
