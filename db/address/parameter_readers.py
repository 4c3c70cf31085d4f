"""Readers of a PostgreSQL address's parameters: each one reads the value of one parameter behind the `?`.

The names and their meaning are libpq's (PostgreSQL's manual, "Parameter Key Words").
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from db.address.server import AddressError

CONNECT_SECONDS: Final = 3
CONNECT_SECONDS_MAX: Final = 60
_NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names (NAMEDATALEN)."""

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's sslmode, from the weakest to the strongest."""
_MODES_OF_OTHERS: Final = {
    "no-verify": "require",
    "true": "require",
    "1": "require",
    "false": "disable",
    "0": "disable",
}
"""node-postgres writes `no-verify`; JDBC and many others `ssl=true`, which libpq too reads as require."""
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
WRITABLE: Final = frozenset({"read-write", "primary"})
# A desk writes, so it uses only a server that takes writes, and that one meets "any" too.
_ANY: Final = frozenset({"any", "prefer-standby"})
_SETTING: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_.]*)=(?P<value>.*)", re.ASCII | re.DOTALL)
_TAKEN_SETTINGS: Final = frozenset({"search_path", "statement_timeout", "role", "work_mem", "jit"})
_OUR_SETTINGS: Final = frozenset(
    {
        *("timezone", "client_encoding", "datestyle", "extra_float_digits", "default_transaction_isolation"),
        *("lock_timeout", "idle_in_transaction_session_timeout", "tcp_keepalives_idle", "tcp_keepalives_interval"),
        *("tcp_keepalives_count", "tcp_user_timeout", "endpoint", "project", "reference"),
    }
)
"""Settings that the desk makes itself, and names for the proxies of Neon and Supabase, which know us by TLS too."""


@dataclass(slots=True)
class Found:
    """The values of a PostgreSQL address's parameters, as far as the readers have come."""

    mode: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    is_direct: bool = False
    session: str = "any"
    application_name: str = ""
    connect_seconds: float = CONNECT_SECONDS
    settings: dict[str, str] = field(default_factory=dict)
    passfile: str | None = None
    is_bound_to_channel: bool = False


def _read_mode(found: Found, value: str) -> None:
    mode = _MODES_OF_OTHERS.get(value.lower(), value.lower())
    if mode not in MODES:
        raise AddressError(f"sslmode is one of {', '.join(MODES)}")
    found.mode = mode


def _file_reader(name: str) -> Callable[[Found, str], None]:
    def read(found: Found, value: str) -> None:
        found.files[name] = value

    return read


def _version_reader(name: str) -> Callable[[Found, str], None]:
    def read(found: Found, value: str) -> None:
        if value not in _TLS_VERSIONS:
            raise AddressError(f"{name} is one of {', '.join(_TLS_VERSIONS)}")
        found.versions[name] = value

    return read


def _read_negotiation(found: Found, value: str) -> None:
    if value not in {"postgres", "direct"}:
        raise AddressError("sslnegotiation is postgres or direct")
    found.is_direct = value == "direct"


def _read_session(found: Found, value: str) -> None:
    if value not in WRITABLE | _ANY:
        raise AddressError("target_session_attrs is read-write or primary: the desk writes, and a standby takes none")
    found.session = value


def _read_application_name(found: Found, value: str) -> None:
    # PostgreSQL itself writes ? for each character beyond ASCII, and the desk knows its own connections by this name.
    found.application_name = "".join(each if each.isascii() else "?" for each in value)[:_NAME_BYTES_MAX]


def _read_connect_timeout(found: Found, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):  # noqa: PLR2004 - an int of 32 bits, as libpq has
        raise AddressError("connect_timeout is a number of seconds")
    # libpq: 0 means no limit of one's own, and one second counts as two.
    seconds = int(value)
    found.connect_seconds = min(max(seconds, 2), CONNECT_SECONDS_MAX) if seconds else CONNECT_SECONDS


def _read_channel_binding(found: Found, value: str) -> None:
    if value not in {"disable", "prefer", "require"}:
        raise AddressError("channel_binding is disable, prefer or require")
    found.is_bound_to_channel = value == "require"


def _read_accept(_: Found, value: str) -> None:
    if value != "accept_invalid_certs":
        raise AddressError("sslaccept is not supported: write sslmode=verify-full and sslrootcert=FILE or system")


def _read_gss(_: Found, value: str) -> None:
    if value not in {"disable", "prefer"}:
        raise AddressError("gssencmode is disable or prefer: GSSAPI does not encrypt here, TLS does (sslmode)")


def _read_options(found: Found, value: str) -> None:
    """Read the parameter `options=`, session settings such as `-c name=value` or `--name=value`, as the server does."""
    words = "options is -c search_path=NAME (percent-encoded: -csearch_path%3DNAME)"
    try:
        parts = shlex.split(value.replace("+", " ") if " " not in value else value)
    except ValueError:
        raise AddressError(words) from None
    while parts:
        part = parts.pop(0)
        part = parts.pop(0) if part == "-c" and parts else part.removeprefix("-c").removeprefix("--")
        match = _SETTING.fullmatch(part)
        if match is None:
            raise AddressError(words)
        _read_setting(found, match["name"].replace("-", "_").lower(), match["value"])


def _read_setting(found: Found, name: str, value: str) -> None:
    if name in _TAKEN_SETTINGS:
        found.settings[name] = value
    elif name == "application_name":
        _read_application_name(found, value)
    elif name not in _OUR_SETTINGS:
        raise AddressError(f"options sets more than the desk supports: it may set {', '.join(sorted(_TAKEN_SETTINGS))}")


def _read_search_path(found: Found, value: str) -> None:
    found.settings["search_path"] = value


def _read_statement_timeout(found: Found, value: str) -> None:
    found.settings["statement_timeout"] = value


def _read_passfile(found: Found, value: str) -> None:
    found.passfile = value


READERS: Final[dict[str, Callable[[Found, str], None]]] = {
    "sslmode": _read_mode,
    "ssl": _read_mode,
    **{name: _file_reader(name) for name in ("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl")},
    **{name: _version_reader(name) for name in ("ssl_min_protocol_version", "ssl_max_protocol_version")},
    "sslnegotiation": _read_negotiation,
    "target_session_attrs": _read_session,
    "application_name": _read_application_name,
    "connect_timeout": _read_connect_timeout,
    "channel_binding": _read_channel_binding,
    "gssencmode": _read_gss,
    "sslaccept": _read_accept,
    "options": _read_options,
    "passfile": _read_passfile,
    # The schema of the tables, by the names of Go, JDBC and Prisma.
    "search_path": _read_search_path,
    "currentSchema": _read_search_path,
    "schema": _read_search_path,
    "statement_timeout": _read_statement_timeout,
}
