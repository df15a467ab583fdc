"""A work queue and two worker processes. One of them is killed in the middle of a job: the other one does the job again.

Run it: `python examples/work_queue.py`
"""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import tempfile
import time

import msgspec

import headwater as hw

JOBS = 30


class Page(msgspec.Struct):
    url: str


def jobs(conn: hw.sync.Connection) -> hw.sync.Queue[Page]:
    # Options are stored in the queue: every worker obeys them, whatever its own code says.
    return conn.queue("crawl", Page, lease=30, retry=hw.Retry(max_attempts=5, delay=0.1))


def worker(url: str) -> None:
    """Until it is killed. What it crawled goes to a stream, which the main process reads."""
    with hw.sync.connect(url, name=f"worker-{os.getpid()}") as conn:
        crawled = conn.stream("crawled")
        for msg in jobs(conn).consume():
            with msg.handled():
                time.sleep(0.01)
                crawled.append({"url": msg.value.url, "by": os.getpid()}, key=msg.value.url, id=msg.id)


def start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, url])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        url = f"local:{scratch}/data"
        with hw.sync.connect(url) as conn:
            jobs(conn).put_many([Page(f"https://example.org/{n}") for n in range(JOBS)])
            crawled = conn.stream("crawled")
            workers = [start(url), start(url)]
            try:
                done: collections.Counter[str] = collections.Counter()
                with crawled.read(follow=True) as reader:
                    while len(done) < JOBS:
                        msg = reader.next(timeout=30)
                        assert msg is not None, "the workers have stopped"
                        done[msg.value["url"]] += 1
                        if len(done) == 5:
                            # No farewell: what it had in hand comes back within two seconds.
                            workers[0].send_signal(signal.SIGKILL)
            finally:
                for process in workers:
                    process.kill()
                    process.wait()
            # `id=` appends once, also when a job was done and its worker killed before it could say so.
            assert set(done.values()) == {1}
            print(f"{len(done)} pages, each once, though a worker was killed")


if __name__ == "__main__":
    worker(sys.argv[1]) if len(sys.argv) > 1 else main()
