"""What RabbitMQ 3.10 can be made to guarantee: quorum queues, stream queues, a topic exchange. The probe widens it."""

from ...capabilities import Capabilities, Support
from ..tables import absent, pattern

_BOUND = "a delivery belongs to its connection"
_TX = "tx is not atomic across queues"

CAPABILITIES = Capabilities(
    engine="rabbitmq",
    acknowledged="fsync",
    survives=frozenset({"process", "power", "node"}),
    channel=pattern(
        "WILDCARDS SUBSCRIBE_CONFIRMED SET_TIME FOREIGN",
        {"DROPPED_COUNT": "by the publishers' sequence numbers"},
        {"PERSIST": ("a channel keeps nothing", "a stream"), "REPLAY": ("a channel keeps nothing", "a stream")},
    ),
    queue=pattern(
        "PERSIST SET_TIME AT_LEAST_ONCE TOTAL_ORDER TTL DEAD_LETTERS MAX_LENGTH LAG FOREIGN",
        {"KEY_ORDER": "by shards", "KEY_ISOLATION": "by shards", "PRIORITY": "one queue a level", "DELAY": "a queue for each bucket of delays"},
        {
            "LEASE_LIVENESS": _BOUND,
            "LEASE_EXTENSION": _BOUND,
            "ATOMIC_BATCH": (_TX, "publish one by one, with confirms"),
            "UNIQUE": ("the broker keeps no table of keys", "an idempotent handler"),
            "CANCEL": "a message in a queue cannot be reached",
            "REPLAY": ("a job that is done is gone", "a stream"),
            "SEEK": ("a queue has no past", "a stream"),
            "TRANSACTION": _TX,
        },
    ),
    stream=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME SET_TIME TOTAL_ORDER RETENTION FOREIGN",
        {"READ_BY_KEY": "by reading past the others"},
        {
            "IDEMPOTENT_APPEND": ("AMQP has no publishing ids", "a consumer that drops what it has seen"),
            "ATOMIC_BATCH": _TX,
            "EXPECT": "the broker has no conditional publish",
            "EXPECT_KEY": "the broker has no conditional publish",
            "COMPACTION": "stream queues have none",
            "TRANSACTION": _TX,
        },
    ),
    group=pattern(
        "PERSIST REPLAY",
        {
            "REPLAY_FROM_TIME": "coarse offsets, then reading on", "AT_LEAST_ONCE": "positions kept by headwater",
            "KEY_ORDER": "by shards", "KEY_ISOLATION": "by shards", "TOTAL_ORDER": "by one active consumer",
            "DEAD_LETTERS": "a queue of its own", "LAG": "by offsets", "SEEK": "by consuming again",
        },
        {"LEASE_LIVENESS": _BOUND, "LEASE_EXTENSION": _BOUND, "TRANSACTION": _TX},
    ),
    call=pattern("CALL NO_RESPONDER", whole=Support.native("direct reply-to")),
    table=absent("the broker has no conditional publish"),
    entity=absent("the broker has no conditional publish"),
)  # fmt: skip
