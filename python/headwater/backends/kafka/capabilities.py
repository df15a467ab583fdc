"""What Kafka 3 and 4 can be made to guarantee."""

from ...capabilities import Capabilities, Support
from ..tables import absent, pattern

_CAS = "the broker has no conditional append"
_DEDUP = ("idempotence covers one producer's session", "a consumer that drops what it has seen")

CAPABILITIES = Capabilities(
    engine="kafka",
    acknowledged="replicated",
    survives=frozenset({"process", "node"}),
    channel=pattern(
        "SET_TIME FOREIGN",
        {"WILDCARDS": "by a regular expression", "SUBSCRIBE_CONFIRMED": "after the assignment", "DROPPED_COUNT": "by offsets"},
        {"PERSIST": ("a channel keeps nothing", "a stream"), "REPLAY": ("a channel keeps nothing", "a stream")},
        Support.emulated("a reader at the tail of a topic"),
    ),
    queue=pattern(
        "PERSIST SET_TIME AT_LEAST_ONCE ATOMIC_BATCH KEY_ORDER LAG FOREIGN",
        {
            "LEASE_LIVENESS": "the client's thread keeps the session", "LEASE_EXTENSION": "by pausing partitions", "KEY_ISOLATION": "retry topics",
            "TOTAL_ORDER": "one partition", "PRIORITY": "one topic a level", "DELAY": "retry topics by buckets", "TTL": "at delivery",
            "DEAD_LETTERS": "a topic of its own",
        },
        {
            "UNIQUE": _DEDUP,
            "CANCEL": "a record in a topic cannot be reached",
            "MAX_LENGTH": "a topic has no bound that refuses",
            "REPLAY": ("a job that is done is passed over", "a stream"),
            "SEEK": ("a queue has no past", "a stream"),
            "TRANSACTION": "not before its issue",
        },
        Support.emulated("on consumer groups"),
    ),
    stream=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME SET_TIME ATOMIC_BATCH RETENTION COMPACTION FOREIGN",
        {"TOTAL_ORDER": "one partition", "READ_BY_KEY": "by reading past the others"},
        {"IDEMPOTENT_APPEND": _DEDUP, "EXPECT": _CAS, "EXPECT_KEY": _CAS, "TRANSACTION": "not before its issue"},
    ),
    group=pattern(
        "PERSIST REPLAY REPLAY_FROM_TIME AT_LEAST_ONCE KEY_ORDER LAG SEEK FOREIGN",
        {
            "LEASE_LIVENESS": "the client's thread keeps the session", "LEASE_EXTENSION": "by pausing partitions", "KEY_ISOLATION": "retry topics",
            "TOTAL_ORDER": "one partition", "DEAD_LETTERS": "a topic of its own",
        },
        {"TRANSACTION": "not before its issue"},
    ),
    call=pattern("", {"CALL": "on topics"}, {"NO_RESPONDER": "a topic knows no listeners"}, Support.emulated("on topics")),
    table=absent("not before its issue"),
    entity=absent("not before its issue"),
)  # fmt: skip
