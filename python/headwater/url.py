"""The URL of an engine: its grammar, and a form of it without secrets.

memory:                                       memory:NAME                  memory:?as=kafka
local:PATH[?durability=interval&interval=0.1] (everything up to `?`, percent-decoded; ~ is expanded)
zmq+ipc:DIR  nng+ipc:DIR
scheme[+cluster|+sentinel][+tls]://[user[:password]@]host[:port][,host…]/[path]?tls_ca=&…
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote

from .errors import UsageError

__all__ = ["DEFAULT_URL", "Url"]

DEFAULT_URL = "local:./.headwater"

#: Other spellings of a scheme with its modifiers.
_ALIASES = {"rediss": "redis+tls", "amqps": "amqp+tls", "pulsar+ssl": "pulsar+tls", "kafka+ssl": "kafka+tls", "redis+ssl": "redis+tls"}
#: Schemes whose rest is a path, not an authority.
_PATHS = frozenset({"memory", "local", "zmq+ipc", "nng+ipc"})
#: Whose rest is an authority.
_SERVERS = frozenset({"redis", "amqp", "kafka", "pulsar", "zmq", "nng"})
_MODIFIERS = frozenset({"cluster", "sentinel", "tls", "ipc", "tcp"})
#: What every server understands in the query; the rest is the backend's.
SERVER_KEYS = frozenset({"tls_ca", "tls_cert", "tls_key", "tls_verify", "sasl", "password_file"})

_SCHEME = re.compile(r"([a-z][a-z0-9]*(?:\+[a-z0-9]+)*):", re.IGNORECASE)
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^:,\[\]]+)(?::\d+)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A parsed URL. `str()` and `repr()` show no password.

    scheme: without modifiers, "zmq" of "zmq+tcp". modifiers: of "cluster", "sentinel", "tls", "ipc", "tcp". hosts: (host, port or
    None) each. path: a directory or name for path schemes, else what follows the hosts' "/".
    """

    scheme: str
    modifiers: frozenset[str] = frozenset()
    hosts: tuple[tuple[str, int | None], ...] = ()
    user: str | None = None
    password: str | None = None
    path: str = ""
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType[str, str]({}))
    shown: str = ""

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Url({self.shown!r})"

    @classmethod
    def parse(cls, url: str | None = None, environ: Mapping[str, str] = os.environ) -> Url:
        """Parses `url`, else $HEADWATER_URL, else local:./.headwater.

        `$NAME` and `${NAME}` in the password are expanded from `environ`; `password_file=` is read. UsageError where the URL does
        not fit the grammar, a variable is not set or a key comes twice.
        """
        text = url if url is not None else environ.get("HEADWATER_URL") or DEFAULT_URL
        found = _SCHEME.match(text)
        if not found:
            raise UsageError(f"{_redacted(text)!r} is not a URL of headwater: it begins with no scheme, as in local:./data or redis://host")
        scheme = found[1].lower()
        scheme = _ALIASES.get(scheme, scheme)
        rest, _, tail = text[found.end() :].partition("?")
        query = _query(tail, text)
        base, *extra = scheme.split("+")
        if scheme in _PATHS:
            if rest.startswith("//"):
                raise UsageError(f"{scheme}: takes a path, not a host: write {scheme}:PATH")
            path = unquote(rest)
            if base == "local":
                path = os.path.expanduser(path)
            if base != "memory" and not path:
                raise UsageError(f"{text!r} names no directory: write {scheme}:PATH")
            return cls(base, frozenset(extra), path=path, query=query, shown=text)
        if unknown := [each for each in extra if each not in _MODIFIERS]:
            raise UsageError(f"unknown URL scheme {scheme!r}: no +{unknown[0]}")
        if not rest.startswith("//"):
            if base not in _SERVERS:
                raise UsageError(f"unknown URL scheme {scheme!r} in {_redacted(text)!r}: one writes local:PATH, memory: or redis://host")
            raise UsageError(f"{scheme} is reached over the network: write {scheme}://host")
        authority, _, path = rest[2:].partition("/")
        credentials, at, hosts = authority.rpartition("@")
        if not at and "@" in text and not _HOSTS.fullmatch(hosts):
            # What stands here may be the beginning of a password: it is not shown.
            raise UsageError(f"no host can be read in {_redacted(text)!r}: in a password write / as %2F, ? as %3F and @ as %40")
        user, colon, password = credentials.partition(":")
        secret = _expand(unquote(password), environ) if colon else None
        if "password_file" in query:
            if secret is not None:
                raise UsageError("the URL has a password and a password_file; give one")
            try:
                with open(query["password_file"], encoding="utf-8") as file:
                    secret = file.read().rstrip("\r\n")
            except OSError as error:
                raise UsageError(f"password_file={query['password_file']}: {error.strerror}") from error
        return cls(
            base,
            frozenset(extra),
            hosts=_hosts(hosts, scheme),
            user=unquote(user) if at and user else None,
            password=secret,
            path=unquote(path),
            query=query,
            shown=_redacted(text),
        )

    def check_query(self, known: frozenset[str]) -> None:
        """UsageError for a key that the engine does not know."""
        known = known | SERVER_KEYS if self.hosts else known
        for key in self.query:
            if key not in known:
                hint = f"; known are {', '.join(sorted(known))}" if known else "; this engine takes none"
                raise UsageError(f"unknown key {key!r} in the query of {self}{hint}")


def _query(text: str, url: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise UsageError(f"the query of {_redacted(url)!r} is not key=value&…") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise UsageError(f"a key comes twice in the query of {_redacted(url)!r}")
    return MappingProxyType(query)


def _hosts(text: str, scheme: str) -> tuple[tuple[str, int | None], ...]:
    hosts: list[tuple[str, int | None]] = []
    for each in text.split(","):
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d+))?", each)
        if not found or not found[1]:
            raise UsageError(f"{each!r} is not a host or host:port, in a {scheme} URL")
        port = None if found[2] is None else int(found[2])
        if port is not None and not 0 < port < 65536:
            raise UsageError(f"{port} is not a port, in a {scheme} URL")
        hosts.append((found[1].strip("[]"), port))
    return tuple(hosts)


def _expand(password: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in environ:
            raise UsageError(f"the URL's password names ${name}, which is not set in the environment")
        return environ[name]

    return _VARIABLE.sub(value, password)


def _redacted(text: str) -> str:
    """`text` without the password, whether or not it parses: what stands between the first `:` behind `//` and the last `@`."""
    before, slashes, rest = text.partition("://")
    if not slashes:
        # Somebody forgot the scheme, or half of it.
        return f"***{text[text.rfind('@') :]}" if "@" in text else text
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    # A password may hold an unescaped "/" or "?": hide up to the last "@" rather than show a part of it.
    cut = rest.rfind("@") if "@" not in authority else authority.rfind("@")
    if cut < 0:
        return text
    user, colon, _ = rest[:cut].partition(":")
    return f"{before}://{user}{':***' if colon else ''}{rest[cut:]}"
