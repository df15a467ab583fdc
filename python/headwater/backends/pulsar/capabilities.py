"""What Pulsar 3 can be made to guarantee."""

from ...capabilities import Capabilities, Support
from ..tables import absent, pattern

_CAS = "the broker has no conditional append"
_DEDUP = ("deduplication goes by a producer's rising numbers, not by ids", "a consumer that drops what it has seen")
_TX = "the Python client has no transactions"
_EXTEND = "the client cannot extend an acknowledgement's time"

CAPABILITIES = Capabilities(
    engine="pulsar",
    acknowledged="replicated",
    survives=frozenset({"process", "power", "node"}),
    channel=pattern(
        "WILDCARDS SUBSCRIBE_CONFIRMED SET_TIME FOREIGN",
        {"DROPPED_COUNT": "by the publishers' sequence numbers"},
        {"PERSIST": ("a non-persistent topic keeps nothing", "a stream"), "REPLAY": ("a non-persistent topic keeps nothing", "a stream")},
    ),
    queue=pattern(
        "PERSIST SET_TIME AT_LEAST_ONCE KEY_ORDER TOTAL_ORDER DELAY DEAD_LETTERS FOREIGN",
        {
            "LEASE_LIVENESS": "while the connection lives", "KEY_ISOLATION": "held at the client", "PRIORITY": "one topic a level",
            "TTL": "at delivery", "LAG": "by the admin API",
        },
        {
            "LEASE_EXTENSION": _EXTEND,
            "ATOMIC_BATCH": _TX,
            "UNIQUE": _DEDUP,
            "CANCEL": "a message in a topic cannot be reached",
            "MAX_LENGTH": "a backlog quota is of the namespace",
            "REPLAY": ("a job that is done is gone", "a stream"),
            "SEEK": ("a queue has no past", "a stream"),
            "TRANSACTION": _TX,
        },
    ),
    stream=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME SET_TIME RETENTION COMPACTION FOREIGN",
        {"TOTAL_ORDER": "one partition", "READ_BY_KEY": "by reading past the others"},
        {"IDEMPOTENT_APPEND": _DEDUP, "ATOMIC_BATCH": _TX, "EXPECT": _CAS, "EXPECT_KEY": _CAS, "TRANSACTION": _TX},
    ),
    group=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME AT_LEAST_ONCE KEY_ORDER TOTAL_ORDER DEAD_LETTERS SEEK FOREIGN",
        {"LEASE_LIVENESS": "while the connection lives", "KEY_ISOLATION": "held at the client", "LAG": "by the admin API"},
        {"LEASE_EXTENSION": _EXTEND, "TRANSACTION": _TX},
    ),
    call=pattern("", {"CALL": "on topics"}, {"NO_RESPONDER": "a topic knows no listeners"}, Support.emulated("on topics")),
    table=absent("not before its issue"),
    entity=absent("not before its issue"),
)  # fmt: skip
