"""Parses `DATABASE_URL` once for the engine, the desk's lock, doctor and backup.

The shapes are libpq's (PostgreSQL's manual, "Connection URIs"), SQLAlchemy's, and what providers print. The parser uses
each part of an address, or knows it to be harmless, and refuses the rest, because a desk without the security that its
operator asked for is worse than a desk that does not start. No error quotes the address, because any part of a
malformed one may be the password.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.address.parameters import Parameters
from db.address.server import AddressError, Server, parse_server, percent_decoded, refuse_control_characters

LENGTH_MAX: Final = 4_096
SERVERS_MAX: Final = 16
PARAMETERS_MAX: Final = 64

_SQLITE: Final = "sqlite+aiosqlite"
_POSTGRESQL: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_NOT_IN_MEMORY: Final = frozenset({None, "", ":memory:"})
_ENCODE: Final = "a user, password or name with any of @ : / ? # in it has them percent-encoded: %40 %3A %2F %3F %23"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)

__all__ = ["Address", "AddressError", "PostgresAddress", "Server", "SqliteAddress", "parse_database_url"]


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """The address of a SQLite database: a file on this machine."""

    url: URL

    @property
    def path(self) -> Path:
        """The SQLite file, as `DATABASE_URL` writes it."""
        return Path(self.url.database or "")


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """The address of a PostgreSQL database, with its servers in the order in which the desk tries them."""

    servers: tuple[Server, ...]
    database: str
    user: str | None
    password: str | None = field(repr=False)
    written: str = field(repr=False)
    """The password as the address writes it, percent-encoded."""
    parameters: Parameters

    @property
    def needs_writable(self) -> bool:
        """True if the desk must pass over a server that takes no writes."""
        return self.parameters.needs_writable or len(self.servers) > 1

    @property
    def names(self) -> str:
        """The PostgreSQL servers in words, for a person."""
        return ", ".join(map(str, self.servers))

    @property
    def without_password(self) -> str:
        """`DATABASE_URL` for pg_dump and psql, which ask for the password or look into ~/.pgpass."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        hosts = ",".join(each.in_address for each in self.servers)
        said = urlencode(self.parameters.for_libpq(), quote_via=quote)
        return f"postgresql://{user}{hosts}/{quote(self.database, safe='')}{'?' if said else ''}{said}"

    def secrets(self) -> frozenset[str]:
        """Return the passwords in `DATABASE_URL`, plain and percent-encoded, for the log to leave out."""
        found = [each for each in (self.password, self.written, self.parameters.tls.key_password) if each]
        return frozenset(found) | {quote(each, safe="") for each in found if each != self.written}


Address = SqliteAddress | PostgresAddress


def parse_database_url(url: str) -> Address:
    """Parse `DATABASE_URL` into a SQLite or PostgreSQL address.

    Raises AddressError, whose words quote nothing of the address.
    """
    url = url.strip()
    if len(url) > LENGTH_MAX:
        raise AddressError(f"it is longer than {LENGTH_MAX} characters")
    refuse_control_characters(url)
    scheme, colon, rest = url.partition("://")
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise AddressError("it does not begin with sqlite+aiosqlite:// or postgresql://")
    scheme = scheme.lower()
    if scheme == _SQLITE:
        return _sqlite(url)
    if scheme not in _POSTGRESQL:
        raise AddressError("it begins with neither sqlite+aiosqlite:// nor postgresql://")
    return _postgresql(rest)


def _sqlite(url: str) -> SqliteAddress:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise AddressError("the path of its file cannot be read") from None
    if parsed.database in _NOT_IN_MEMORY:
        raise AddressError("it names no file")
    return SqliteAddress(parsed)


def _postgresql(rest: str) -> PostgresAddress:
    if "#" in rest:
        raise AddressError(_ENCODE)
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    if "@" in path or "/" in path or "?" in query:
        raise AddressError(_ENCODE)
    account, at, hosts = authority.rpartition("@")
    user, _, password = account.partition(":") if at else ("", "", "")
    said = _pairs(query)
    servers = _servers_in_query(said) or [parse_server(each) for each in hosts.split(",")]
    if len(servers) > SERVERS_MAX:
        raise AddressError(f"it names more than {SERVERS_MAX} servers")
    last = dict(said)
    database = last.pop("dbname", "") or last.pop("database", "") or percent_decoded(path)
    if not database:
        raise AddressError("it names no database: write its name behind the host and a /")
    return PostgresAddress(
        servers=tuple(servers),
        database=database,
        user=last.pop("user", "") or percent_decoded(user) or None,
        password=last.pop("password", "") or percent_decoded(password) or None,
        written=password,
        parameters=Parameters.from_pairs([(name, value) for name, value in said if name not in _OF_THE_PLACE]),
    )


_OF_THE_PLACE: Final = frozenset({"host", "port", "dbname", "database", "user", "password"})


def _pairs(query: str) -> list[tuple[str, str]]:
    parts = [part for part in query.split("&") if part]
    if len(parts) > PARAMETERS_MAX:
        raise AddressError(f"it has more than {PARAMETERS_MAX} parameters behind the ?")
    pairs = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise AddressError(f"the part behind the ? is not NAME=VALUE&NAME=VALUE; or {_ENCODE}")
        pairs.append((percent_decoded(name), percent_decoded(value)))
    return pairs


def _servers_in_query(said: list[tuple[str, str]]) -> list[Server]:
    """Return the servers of `host=` and `port=` behind the `?`; libpq prefers them to the host in front.

    Each parameter may have a list, or stand there several times.
    """
    hosts = [host for name, value in said if name == "host" for host in value.split(",")]
    ports = [port for name, value in said if name == "port" for port in value.split(",")]
    if not hosts:
        if ports:
            raise AddressError("it has port= without host=: write the port behind the host")
        return []
    if len(ports) not in {0, 1, len(hosts)}:
        raise AddressError("it names fewer or more ports than hosts")
    of_each = ports * len(hosts) if len(ports) == 1 else ports or [""] * len(hosts)
    return [parse_server(host, port, is_plain=True) for host, port in zip(hosts, of_each, strict=True)]
