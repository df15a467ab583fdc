"""The same library without async: `headwater.sync` has the same names, no event loop inside, and may be used from any thread.

Run it: `python examples/without_async.py`
"""

from __future__ import annotations

import tempfile
import threading

import headwater as hw


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, hw.sync.connect(f"local:{scratch}/data") as conn:
        photos = conn.queue("photos", str)
        thumbnails = conn.stream("thumbnails", str)

        def shrink(msg: hw.sync.Delivery[str]) -> None:
            thumbnails.append(f"{msg.value}@2x", key=msg.value)
            if thumbnails.info().records == 12:
                photos.stop()

        for n in range(12):
            photos.put(f"photo-{n}.jpg", priority=9 if n == 11 else 0)
        # Four threads; run() returns when stop() was called and what was in hand is finished.
        running = threading.Thread(target=photos.run, args=(shrink,), kwargs={"concurrency": 4})
        running.start()
        running.join(timeout=30)
        assert not running.is_alive()

        assert photos.stats().acked_total == 12
        assert sorted(msg.value for msg in thumbnails.read()) == sorted(f"photo-{n}.jpg@2x" for n in range(12))
        (one,) = thumbnails.read(key="photo-11.jpg")
        print(f"12 thumbnails by 4 threads, {one.value} among them")


if __name__ == "__main__":
    main()
