"""What Redis 7 can be made to guarantee: channels on Pub/Sub, queues and streams on Streams. Later versions do more; the probe widens it."""

from ...capabilities import Capabilities, Support
from ..tables import absent, pattern

_TRANSACTION = "the keys of a transaction would have to share a slot"

CAPABILITIES = Capabilities(
    engine="redis",
    acknowledged="memory",
    survives=frozenset({"process"}),
    channel=pattern(
        "WILDCARDS SUBSCRIBE_CONFIRMED",
        {"SET_TIME": "in the envelope", "DROPPED_COUNT": "by the publishers' sequence numbers"},
        {"PERSIST": ("Pub/Sub keeps nothing", "a stream"), "REPLAY": ("Pub/Sub keeps nothing", "a stream")},
    ),
    queue=pattern(
        "PERSIST AT_LEAST_ONCE LEASE_EXTENSION LAG FOREIGN",
        {
            "SET_TIME": "in a field", "LEASE_LIVENESS": "by a helper process that renews", "KEY_ORDER": "by shards",
            "KEY_ISOLATION": "by shards", "TOTAL_ORDER": "by one shard and a lock", "PRIORITY": "one stream a level",
            "DELAY": "a sorted set and a script", "TTL": "at delivery", "UNIQUE": "a script", "CANCEL": "a script",
            "DEAD_LETTERS": "a stream of its own", "MAX_LENGTH": "a script", "ATOMIC_BATCH": "MULTI",
        },
        {"REPLAY": ("a job that is done is deleted", "a stream"), "SEEK": ("a queue has no past", "a group"), "TRANSACTION": _TRANSACTION},
    ),
    stream=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME TOTAL_ORDER RETENTION FOREIGN",
        {
            "SET_TIME": "in a field", "IDEMPOTENT_APPEND": "a script", "ATOMIC_BATCH": "MULTI", "EXPECT": "a script",
            "EXPECT_KEY": "a script", "READ_BY_KEY": "by reading past the others",
        },
        {"COMPACTION": "a Redis stream has none", "TRANSACTION": _TRANSACTION},
    ),
    group=pattern(
        "PERSIST REPLAY AT_LEAST_ONCE LEASE_EXTENSION LAG SEEK FOREIGN",
        {
            "REPLAY_FROM_TIME": "by ids", "LEASE_LIVENESS": "by a helper process that renews", "KEY_ORDER": "by shards",
            "KEY_ISOLATION": "by shards", "TOTAL_ORDER": "by one shard and a lock", "DEAD_LETTERS": "a stream of its own",
        },
        {"TRANSACTION": _TRANSACTION},
    ),
    call=pattern("", {"CALL": "on streams", "NO_RESPONDER": "by the consumers' presence"}, whole=Support.emulated("on streams")),
    table=absent("not before its issue"),
    entity=absent("not before its issue"),
)  # fmt: skip
