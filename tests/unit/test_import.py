"""`import headwater` is light, and what a program does not use it does not load."""

from __future__ import annotations

import subprocess
import sys


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


CLIENTS = {"redis", "aio_pika", "aiormq", "confluent_kafka", "aiokafka", "pulsar", "zmq", "pynng", "sqlalchemy", "django", "grpc"}


def test_no_broker_client() -> None:
    """Nor when one only asks what the engines can do."""
    loaded = modules_after("import headwater as hw\nhw.sync.connect('memory:?as=kafka').close()")
    assert not CLIENTS & {name.partition(".")[0] for name in loaded}


def test_a_synchronous_program_needs_no_event_loop() -> None:
    work = """
import headwater as hw
with hw.sync.connect("memory:") as conn:
    conn.stream("s").append(1)
    assert [m.value for m in conn.stream("s").read()] == [1]
    conn.queue("q").put(2)
    for msg in conn.queue("q").consume(idle=0.05):
        with msg.handled():
            assert msg.value == 2
    with conn.channel("c").subscribe() as sub:
        conn.channel("c").publish(3)
        assert sub.next(timeout=5).value == 3
"""
    assert "asyncio" not in modules_after(work)


def test_only_the_engine_that_is_asked_for() -> None:
    loaded = modules_after("import headwater as hw\nhw.sync.connect('memory:').close()")
    assert "headwater.backends.memory" in loaded
    assert not {f"headwater.backends.{name}" for name in ("redis", "kafka", "pulsar", "rabbitmq", "zmq", "nng", "local")} & loaded
    assert "headwater.cli" not in loaded
    assert "headwater.testing" not in loaded


def test_modules_in_all() -> None:
    """A bound on the work of an import that no slow machine moves: how many modules it loads beyond what Python and msgspec load."""
    bare = modules_after("import msgspec, dataclasses, typing_extensions, logging, enum, datetime, importlib")
    ours = modules_after("import headwater") - bare
    assert len(ours) < 90, sorted(ours)
