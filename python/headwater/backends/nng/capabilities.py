"""What nng can be made to guarantee: there is no broker, and nothing outlives the processes."""

from ...capabilities import Capabilities, Support
from ..tables import absent, pattern

_NO_BROKER = "there is no broker to keep anything"
_KEPT = (_NO_BROKER, "local:PATH")

CAPABILITIES = Capabilities(
    engine="nng",
    acknowledged="memory",
    survives=frozenset(),
    channel=pattern(
        "WILDCARDS",
        {"SET_TIME": "in the envelope", "DROPPED_COUNT": "by the publishers' sequence numbers"},
        {
            "SUBSCRIBE_CONFIRMED": ("a publisher learns of subscribers late", "await sub.ready(peers=n)"),
            "PERSIST": _KEPT,
            "REPLAY": _KEPT,
            "FOREIGN": "messages travel in an envelope",
        },
    ),
    queue=pattern(
        "",
        {
            "SET_TIME": "in the envelope", "AT_LEAST_ONCE": "while the sender lives", "LEASE_EXTENSION": "by the sender",
            "KEY_ORDER": "by the sender", "KEY_ISOLATION": "by the sender", "TTL": "at delivery", "DEAD_LETTERS": "at the sender",
        },
        {
            "PERSIST": _KEPT,
            "REPLAY": _KEPT,
            "LEASE_LIVENESS": "there is no third party to see who lives",
            "ATOMIC_BATCH": _KEPT,
            "TOTAL_ORDER": "several senders have no common order",
            "PRIORITY": _KEPT,
            "DELAY": _KEPT,
            "UNIQUE": _KEPT,
            "CANCEL": _KEPT,
            "MAX_LENGTH": _KEPT,
            "LAG": _KEPT,
            "SEEK": _KEPT,
            "TRANSACTION": _KEPT,
            "FOREIGN": "messages travel in an envelope",
        },
        Support.emulated("while the sender lives"),
    ),
    stream=absent(_NO_BROKER, "local:PATH"),
    group=absent(_NO_BROKER, "local:PATH"),
    call=pattern("CALL", refused={"NO_RESPONDER": "a socket does not know who serves"}, whole=Support.native("request and reply sockets")),
    table=absent(_NO_BROKER, "local:PATH"),
    entity=absent(_NO_BROKER, "local:PATH"),
)  # fmt: skip
