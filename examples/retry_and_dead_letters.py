"""What becomes of a job that fails: tried again, later and later; then a dead letter with its history; mended, and put back.

Run it: `python examples/retry_and_dead_letters.py`
"""

from __future__ import annotations

import logging

import headwater as hw


def deliver(address: str) -> None:
    if "@" not in address:
        raise ValueError("an address has an @")
    if address.startswith("nobody"):
        raise hw.RejectMessage("no such customer")


def main() -> None:
    # The library logs failed attempts as errors; here they are the point.
    logging.getLogger("headwater").setLevel(logging.CRITICAL)
    with hw.sync.connect("memory:") as conn:
        mails = conn.queue("mails", str, retry=hw.Retry(max_attempts=3, delay=0.02, factor=2, jitter=0))
        mails.put_many(["ann@example.org", "bob at example.org", "nobody@example.org"])

        for msg in mails.consume(idle=1.0):
            with msg.handled():
                deliver(msg.value)

        letters = {letter.value: letter for letter in mails.dead.read()}
        assert set(letters) == {"bob at example.org", "nobody@example.org"}
        bob = letters["bob at example.org"]
        assert [attempt.attempt for attempt in bob.history] == [1, 2, 3]
        assert "ValueError: an address has an @" in (bob.error or "")
        for letter in letters.values():
            print(f"{letter.value}: {letter.reason}, after {letter.attempt}")
        print(f"by error: {dict(sorted(mails.dead.by_error().items()))}")

        mails.dead.edit(bob.id, "bob@example.org")
        assert mails.dead.redrive([bob.id]) == 1
        for msg in mails.consume(idle=0.5):
            with msg.handled():
                deliver(msg.value)
                print(f"{msg.value} at attempt {msg.attempt}, under the id it had: {msg.id == bob.id}")
        assert mails.dead.purge() == 1
        stats = mails.stats()
        assert (stats.ready, stats.delayed, stats.dead, stats.acked_total) == (0, 0, 0, 2)


if __name__ == "__main__":
    main()
