"""A process of the demo: `python -m headwater.demo.worker SPEC`, started and told what to do by `headwater.demo.crew`."""

from __future__ import annotations

import logging
import sys

import msgspec

from headwater import sync

from . import feed, roles
from .model import OP_TIMEOUT, Names
from .orders import Orders, Spec

__all__ = ["main"]


def main(text: str) -> None:
    spec = msgspec.json.decode(text, type=Spec)
    # What a handler raises is this demo's own doing, thousands of times: it stands in the dead letters, and need not stand here too.
    logging.getLogger("headwater.consumer").setLevel(logging.CRITICAL)
    orders = Orders()
    # A worker that outlives its demo by a moment shall not make the directory again that the demo has removed.
    options = {"create": False} if spec.url.lower().startswith("local:") else {}
    with sync.connect(spec.url, name=spec.name, op_timeout=OP_TIMEOUT, options=options) as conn:
        names = Names(conn)
        if spec.role == "feed":
            feed.run(names, spec, orders)
        else:
            roles.ROLES[spec.role](names, spec, orders)


if __name__ == "__main__":
    main(sys.argv[1])
