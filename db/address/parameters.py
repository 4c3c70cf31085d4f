"""What stands behind the `?` of a PostgreSQL's address: what of it is taken, what does no harm, what is refused.

The names and their meaning are libpq's (PostgreSQL's manual, "Parameter Key Words"); the others are what providers and
other drivers print into their addresses: Heroku, Neon, Supabase, Prisma, node-postgres, JDBC, SQLAlchemy.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from db.address.server import AddressError

APPLICATION_NAME: Final = "starledger"
CONNECT_SECONDS: Final = 3
CONNECT_SECONDS_MAX: Final = 60
SYSTEM: Final = "system"
"""A sslrootcert that means: the certificates of the machine."""
_NAME_BYTES_MAX: Final = 63
"""Longer names are cut by PostgreSQL (NAMEDATALEN)."""

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's sslmode, from the weakest to the strongest."""
_MODES_OF_OTHERS: Final = {
    "no-verify": "require",
    "true": "require",
    "1": "require",
    "false": "disable",
    "0": "disable",
}
"""node-postgres has `no-verify`, JDBC and many others `ssl=true`, which libpq too takes for require."""
_AS_IT_IS: Final = frozenset({"allow", "prefer", "require"})
"""Those under which libpq without a word makes the same connection to a server that has TLS."""
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_WRITABLE: Final = frozenset({"read-write", "primary"})
# A desk writes: of several servers only the one that takes writes is of use, and that is one of "any" too.
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
"""What the desk sets by itself; and the names that Neon's and Supabase's doors read, which know us by TLS as well."""

_HARMLESS: Final = frozenset(
    {
        # libpq: where it stands in a log, how it compresses and calls out, what the desk sees to by itself.
        *(
            "fallback_application_name",
            "client_encoding",
            "keepalives",
            "sslcompression",
            "sslsni",
            "load_balance_hosts",
        ),
        *("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "krbsrvname", "gsslib"),
        # Poolers and caches of other drivers: Prisma, Supabase, Vercel, node-postgres, JDBC, SQLAlchemy.
        *("pgbouncer", "connection_limit", "pool_timeout", "pool_mode", "pool_size", "max_overflow", "socket_timeout"),
        *("statement_cache_size", "prepared_statement_cache_size", "prepareThreshold", "preferQueryMode", "supa"),
        *("workaround", "uselibpqcompat", "async_fallback", "ApplicationName", "reWriteBatchedInserts"),
    }
)
_REFUSED: Final = {
    "hostaddr": "hostaddr is not taken: write the address in place of the host",
    "service": "service is not taken: write host, port, name and user themselves",
    "servicefile": "servicefile is not taken: write host, port, name and user themselves",
    "replication": "replication is for programs that copy a server: leave it out",
    "require_auth": "require_auth is not taken: leave it out, and let the server's pg_hba.conf say it",
    "requirepeer": "requirepeer is not taken: leave it out",
    "gssdelegation": "gssdelegation is not taken: leave it out",
    "sslcrldir": "sslcrldir is not taken: put the lists into one file, and name it with sslcrl",
    "sslcertmode": "sslcertmode is not taken: leave it out",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How the connection is kept from others, in libpq's words; files are paths."""

    mode: str = "prefer"
    root_cert: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    crl: str | None = None
    version_min: str = "TLSv1.2"
    version_max: str | None = None
    is_direct: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether a connection without TLS is no connection."""
        return MODES.index(self.mode) >= MODES.index("require")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an address says of its connections; what it leaves out is as libpq has it."""

    tls: Tls = Tls()
    needs_writable: bool = False
    application_name: str = APPLICATION_NAME
    connect_seconds: float = CONNECT_SECONDS
    """For each server that is tried."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of the session, such as search_path."""
    passfile: str | None = None
    is_bound_to_channel: bool = False
    """Whether channel binding was asked for, which our driver has not: TLS is wanted then at least."""

    @classmethod
    def read(cls, said: Sequence[tuple[str, str]]) -> Self:
        """Read names and values, decoded; of one that stands twice the last counts. Raises AddressError."""
        found = _Found()
        for number, (name, value) in enumerate(said, start=1):
            if name in _REFUSED:
                raise AddressError(_REFUSED[name])
            reader = _READERS.get(name)
            if reader is not None:
                if value:  # libpq: an empty one is as if it were left out
                    reader(found, value)
            elif name not in _HARMLESS:
                # The name is not said: in an address that is malformed it may be a piece of the password.
                raise AddressError(f"parameter {number} behind the ? is not known here: leave it out")
        return cls(
            tls=_tls(found),
            needs_writable=found.session in _WRITABLE,
            application_name=found.application_name or APPLICATION_NAME,
            connect_seconds=found.connect_seconds,
            settings=tuple(found.settings.items()),
            passfile=found.passfile,
            is_bound_to_channel=found.is_bound_to_channel,
        )

    def for_libpq(self) -> dict[str, str]:
        """Return what PostgreSQL's own programs need of it to reach the same server."""
        tls, said = self.tls, {}
        if tls.mode not in _AS_IT_IS:
            said["sslmode"] = tls.mode
        files = {"sslrootcert": tls.root_cert, "sslcert": tls.cert, "sslkey": tls.key}
        said |= {name: file for name, file in files.items() if file is not None}
        if self.needs_writable:
            said["target_session_attrs"] = "read-write"
        if self.settings:
            said["options"] = " ".join(f"-c {name}={value}" for name, value in self.settings)
        return said


@dataclass(slots=True)
class _Found:
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


def _tls(found: _Found) -> Tls:
    files, strongest = found.files, MODES[-1]
    is_system = files.get("sslrootcert") == SYSTEM
    mode = found.mode or (strongest if is_system else "prefer")
    if is_system and mode != strongest:
        raise AddressError("sslrootcert=system goes with sslmode=verify-full alone")
    wanted = found.is_bound_to_channel or found.is_direct
    if wanted and MODES.index(mode) < MODES.index("require"):
        if found.mode not in {None, "prefer", "allow"} or found.is_direct:
            raise AddressError("what it asks of TLS does not go with its sslmode: write sslmode=require or stronger")
        mode = "require"
    if mode == "require" and "sslrootcert" in files:
        # libpq's own rule: with a root certificate at hand, require checks whose the server's is.
        mode = "verify-ca"
    return Tls(
        mode=mode,
        root_cert=files.get("sslrootcert"),
        cert=files.get("sslcert"),
        key=files.get("sslkey"),
        key_password=files.get("sslpassword"),
        crl=files.get("sslcrl"),
        version_min=found.versions.get("ssl_min_protocol_version", "TLSv1.2"),
        version_max=found.versions.get("ssl_max_protocol_version"),
        is_direct=found.is_direct,
    )


def _read_mode(found: _Found, value: str) -> None:
    mode = _MODES_OF_OTHERS.get(value.lower(), value.lower())
    if mode not in MODES:
        raise AddressError(f"sslmode is one of {', '.join(MODES)}")
    found.mode = mode


def _file(name: str) -> Callable[[_Found, str], None]:
    def read(found: _Found, value: str) -> None:
        found.files[name] = value

    return read


def _version(name: str) -> Callable[[_Found, str], None]:
    def read(found: _Found, value: str) -> None:
        if value not in _TLS_VERSIONS:
            raise AddressError(f"{name} is one of {', '.join(_TLS_VERSIONS)}")
        found.versions[name] = value

    return read


def _read_negotiation(found: _Found, value: str) -> None:
    if value not in {"postgres", "direct"}:
        raise AddressError("sslnegotiation is postgres or direct")
    found.is_direct = value == "direct"


def _read_session(found: _Found, value: str) -> None:
    if value not in _WRITABLE | _ANY:
        raise AddressError(
            "target_session_attrs is read-write or primary: the desk writes, and a standby takes nothing"
        )
    found.session = value


def _read_application_name(found: _Found, value: str) -> None:
    # PostgreSQL itself puts ? for what is not ASCII, and the desk knows its own connections by this name.
    found.application_name = "".join(each if each.isascii() else "?" for each in value)[:_NAME_BYTES_MAX]


def _read_connect_timeout(found: _Found, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):  # noqa: PLR2004 - an int of 32 bits, as libpq has
        raise AddressError("connect_timeout is a number of seconds")
    # libpq: 0 is no limit of one's own, and one second counts as two.
    seconds = int(value)
    found.connect_seconds = min(max(seconds, 2), CONNECT_SECONDS_MAX) if seconds else CONNECT_SECONDS


def _read_channel_binding(found: _Found, value: str) -> None:
    if value not in {"disable", "prefer", "require"}:
        raise AddressError("channel_binding is disable, prefer or require")
    found.is_bound_to_channel = value == "require"


def _read_accept(_: _Found, value: str) -> None:
    if value != "accept_invalid_certs":
        raise AddressError("sslaccept is not taken: write sslmode=verify-full and sslrootcert=FILE or system")


def _read_gss(_: _Found, value: str) -> None:
    if value not in {"disable", "prefer"}:
        raise AddressError("gssencmode is disable or prefer: GSSAPI does not encrypt here, TLS does (sslmode)")


def _read_options(found: _Found, value: str) -> None:
    """Read `-c name=value`, `-cname=value` and `--name=value`, as the server's own command line has them."""
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
        _take_setting(found, match["name"].replace("-", "_").lower(), match["value"])


def _take_setting(found: _Found, name: str, value: str) -> None:
    if name in _TAKEN_SETTINGS:
        found.settings[name] = value
    elif name == "application_name":
        _read_application_name(found, value)
    elif name not in _OUR_SETTINGS:
        raise AddressError(f"options sets what the desk has no use for: it takes {', '.join(sorted(_TAKEN_SETTINGS))}")


def _schema(found: _Found, value: str) -> None:
    found.settings["search_path"] = value


def _statement_timeout(found: _Found, value: str) -> None:
    found.settings["statement_timeout"] = value


def _read_passfile(found: _Found, value: str) -> None:
    found.passfile = value


_READERS: Final[dict[str, Callable[[_Found, str], None]]] = {
    "sslmode": _read_mode,
    "ssl": _read_mode,
    **{name: _file(name) for name in ("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl")},
    **{name: _version(name) for name in ("ssl_min_protocol_version", "ssl_max_protocol_version")},
    "sslnegotiation": _read_negotiation,
    "target_session_attrs": _read_session,
    "application_name": _read_application_name,
    "connect_timeout": _read_connect_timeout,
    "channel_binding": _read_channel_binding,
    "gssencmode": _read_gss,
    "sslaccept": _read_accept,
    "options": _read_options,
    "passfile": _read_passfile,
    # Go's, JDBC's and Prisma's names for where the tables are.
    "search_path": _schema,
    "currentSchema": _schema,
    "schema": _schema,
    "statement_timeout": _statement_timeout,
}
