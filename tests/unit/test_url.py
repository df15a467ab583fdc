"""The grammar of URLs, and that no password ever shows."""

from __future__ import annotations

from pathlib import Path

import pytest

import headwater as hw
from headwater.url import DEFAULT_URL, Url

ENVIRONMENT = {"PW": "g%h/e@im", "HEADWATER_URL": "memory:from-the-environment"}


def parse(url: str | None) -> Url:
    return Url.parse(url, ENVIRONMENT)


@pytest.mark.parametrize(
    ("url", "scheme", "path", "query"),
    [
        ("memory:", "memory", "", {}),
        ("memory:NAME", "memory", "NAME", {}),
        ("memory:?as=kafka", "memory", "", {"as": "kafka"}),
        ("local:./data", "local", "./data", {}),
        ("LOCAL:x", "local", "x", {}),
        ("local:/a b/ü", "local", "/a b/ü", {}),
        ("local:a%3Fb%20c", "local", "a?b c", {}),
        ("local:x?durability=always&interval=0.5", "local", "x", {"durability": "always", "interval": "0.5"}),
        ("zmq+ipc:/run/peers", "zmq", "/run/peers", {}),
    ],
)
def test_paths(url: str, scheme: str, path: str, query: dict[str, str]) -> None:
    found = parse(url)
    assert (found.scheme, found.path, dict(found.query)) == (scheme, path, query)
    assert str(found) == url
    assert found.hosts == ()


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse("local:~/data").path == "/home/ada/data"


@pytest.mark.parametrize(
    ("url", "scheme", "modifiers", "hosts", "user", "password", "path"),
    [
        ("redis://h", "redis", set(), (("h", None),), None, None, ""),
        ("redis://h:1,h2/3", "redis", set(), (("h", 1), ("h2", None)), None, None, "3"),
        ("redis://[::1]:5/", "redis", set(), (("::1", 5),), None, None, ""),
        ("rediss://u:p@h", "redis", {"tls"}, (("h", None),), "u", "p", ""),
        ("redis://:p@h", "redis", set(), (("h", None),), None, "p", ""),
        ("redis://u%40x:p%2Fw@h", "redis", set(), (("h", None),), "u@x", "p/w", ""),
        ("redis+cluster+tls://h", "redis", {"cluster", "tls"}, (("h", None),), None, None, ""),
        ("redis+sentinel://a:1,b:2/main", "redis", {"sentinel"}, (("a", 1), ("b", 2)), None, None, "main"),
        ("amqps://h/vhost", "amqp", {"tls"}, (("h", None),), None, None, "vhost"),
        ("pulsar+ssl://h", "pulsar", {"tls"}, (("h", None),), None, None, ""),
        ("kafka+ssl://u:$PW@h", "kafka", {"tls"}, (("h", None),), "u", "g%h/e@im", ""),
        ("kafka://u:x${PW}y@h", "kafka", set(), (("h", None),), "u", "xg%h/e@imy", ""),
        ("zmq+tcp://h:1?bind=1", "zmq", {"tcp"}, (("h", 1),), None, None, ""),
    ],
)
def test_servers(url: str, scheme: str, modifiers: set[str], hosts: tuple[object, ...], user: str | None, password: str | None, path: str) -> None:
    found = parse(url)
    assert (found.scheme, found.modifiers, found.hosts, found.user, found.password, found.path) == (scheme, modifiers, hosts, user, password, path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "begins with no scheme"),
        ("data", "begins with no scheme"),
        ("local:", "names no directory"),
        ("local://data", "write local:PATH"),
        ("redis:x", "write redis://host"),
        ("redis+foo://h", r"no \+foo"),
        ("redis://", "is not a host"),
        ("redis://h:99999", "is not a port"),
        ("redis://h?x", "is not key=value"),
        ("redis://h?x=1&x=2", "a key comes twice"),
        ("redis://u:$NOPE@h", r"\$NOPE, which is not set"),
        ("redis://u:p@h?password_file=/x", "give one"),
        ("redis://u@h?password_file=/does/not/exist", "password_file=/does/not/exist"),
    ],
)
def test_what_is_wrong_is_said(url: str, says: str) -> None:
    with pytest.raises(hw.UsageError, match=says):
        parse(url)


def test_password_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    found = parse(f"redis://u@h?password_file={file}")
    assert found.password == "s3cret"
    assert "s3cret" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cret@h",
        "redis://u:s3cret@h:99999",
        "redis://u:s3cret@h?x",
        "redis://u:s3cret@h?x=1&x=2",
        "redis://u:s3/cret@h",
        "redis://u:s3?cret@h",
        "redis://u:s3?x=cret@h",
        "redis://u:s3@cret@h",
        "redis://u:s3#cret@h",
        "redis+foo://u:s3cret@h",
        "nope://u:s3cret@h",
        "//u:s3cret@h",
        "u:s3cret@h",
        "redis://u:$s3cret@h",
    ],
)
def test_no_password_shows(url: str) -> None:
    """Neither in what is printed nor in an error, whole or in part."""
    try:
        with pytest.raises(hw.HeadwaterError) as caught:
            hw.connect(url)
        said = f"{caught.value} {caught.value!r}"
        parsed = Url.parse(url, {"s3cret": "s3cret"})
    except hw.UsageError:
        parsed = None
    said += f" {parsed} {parsed!r}"
    for part in ("s3", "cret") if "$" not in url else ("=s3cret",):
        assert part not in said, said


def test_without_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parse(None)) == "memory:from-the-environment"
    assert str(Url.parse(None, {})) == DEFAULT_URL == "local:./.headwater"
    monkeypatch.setenv("HEADWATER_URL", "memory:by-the-environment")
    with hw.sync.connect() as conn:
        assert conn.url == "memory:by-the-environment"


@pytest.mark.parametrize("url", ["memory:?colour=blue", "memory:?durability=always", "local:x?as=kafka"])
def test_an_unknown_key_of_the_query(url: str) -> None:
    with pytest.raises(hw.UsageError, match="unknown key"):
        hw.connect(url)


@pytest.mark.parametrize("url", ["gopher://h", "memory+tls:"])
def test_an_engine_that_there_is_not(url: str) -> None:
    with pytest.raises(hw.UsageError, match=r"local:.*memory:"):
        hw.connect(url)


@pytest.mark.parametrize(
    "url", ["local:x?durability=sometimes", "local:x?interval=0", "local:x?interval=soon", "local:x?interval=nan", "memory:?as=mysql"]
)
def test_a_value_that_is_none(url: str) -> None:
    with pytest.raises(hw.UsageError):
        hw.connect(url)


def test_options_are_the_engines() -> None:
    with pytest.raises(hw.UsageError, match="colour"):
        hw.connect("local:x", options={"colour": "blue"})
    with pytest.raises(hw.UsageError, match="colour"):
        hw.connect("memory:", options={"colour": "blue"})
