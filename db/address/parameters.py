"""Parameters of a PostgreSQL address, behind its `?`: taken, harmless, or a reason to refuse the address.

The names and their meaning are libpq's (PostgreSQL's manual, "Parameter Key Words"); the others are what providers and
other drivers print into their addresses: Heroku, Neon, Supabase, Prisma, node-postgres, JDBC, SQLAlchemy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from db.address.parameter_readers import CONNECT_SECONDS, MODES, READERS, WRITABLE, Found
from db.address.server import AddressError

APPLICATION_NAME: Final = "starledger"
SYSTEM: Final = "system"
"""The sslrootcert that means the certificates of this machine."""
_SAME_WITHOUT_MODE: Final = frozenset({"allow", "prefer", "require"})
"""The modes under which libpq, given no mode at all, makes the same connection to a server that has TLS."""
_HARMLESS: Final = frozenset(
    {
        # libpq: names for a log, compression, the choice of a server, and what the desk itself sets.
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
    "hostaddr": "hostaddr is not supported: write the address in place of the host",
    "service": "service is not supported: write host, port, name and user themselves",
    "servicefile": "servicefile is not supported: write host, port, name and user themselves",
    "replication": "replication is for programs that copy a server: leave it out",
    "require_auth": "require_auth is not supported: leave it out, and let the server's pg_hba.conf say it",
    "requirepeer": "requirepeer is not supported: leave it out",
    "gssdelegation": "gssdelegation is not supported: leave it out",
    "sslcrldir": "sslcrldir is not supported: put the lists into one file, and name it with sslcrl",
    "sslcertmode": "sslcertmode is not supported: leave it out",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """The protection of a connection to PostgreSQL, in libpq's words; the files are paths."""

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
        """True if the address insists on TLS."""
        return MODES.index(self.mode) >= MODES.index("require")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a PostgreSQL address; libpq's defaults stand for the parameters that it leaves out."""

    tls: Tls = Tls()
    needs_writable: bool = False
    application_name: str = APPLICATION_NAME
    connect_seconds: float = CONNECT_SECONDS
    """The time limit of connecting to each server."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of the database session, such as search_path."""
    passfile: str | None = None
    is_bound_to_channel: bool = False
    """True if the address asks for channel binding. asyncpg does not have it, so the desk insists on TLS at least."""

    @classmethod
    def from_pairs(cls, said: Sequence[tuple[str, str]]) -> Self:
        """Parse a PostgreSQL address's parameters from decoded names and values; the last of a repeated name counts.

        Raises AddressError.
        """
        found = Found()
        for number, (name, value) in enumerate(said, start=1):
            if name in _REFUSED:
                raise AddressError(_REFUSED[name])
            reader = READERS.get(name)
            if reader is not None:
                if value:  # libpq: an empty value counts as left out
                    reader(found, value)
            elif name not in _HARMLESS:
                # The error does not say the name, because in a malformed address it may be a piece of the password.
                raise AddressError(f"parameter {number} behind the ? is unknown: leave it out")
        return cls(
            tls=_tls(found),
            needs_writable=found.session in WRITABLE,
            application_name=found.application_name or APPLICATION_NAME,
            connect_seconds=found.connect_seconds,
            settings=tuple(found.settings.items()),
            passfile=found.passfile,
            is_bound_to_channel=found.is_bound_to_channel,
        )

    def for_libpq(self) -> dict[str, str]:
        """Return the parameters with which PostgreSQL's own programs reach the same server in the same way."""
        tls, said = self.tls, {}
        if tls.mode not in _SAME_WITHOUT_MODE:
            said["sslmode"] = tls.mode
        files = {"sslrootcert": tls.root_cert, "sslcert": tls.cert, "sslkey": tls.key}
        said |= {name: file for name, file in files.items() if file is not None}
        if self.needs_writable:
            said["target_session_attrs"] = "read-write"
        if self.settings:
            said["options"] = " ".join(f"-c {name}={value}" for name, value in self.settings)
        return said


def _tls(found: Found) -> Tls:
    files, strongest = found.files, MODES[-1]
    is_system = files.get("sslrootcert") == SYSTEM
    mode = found.mode or (strongest if is_system else "prefer")
    if is_system and mode != strongest:
        raise AddressError("sslrootcert=system goes with sslmode=verify-full alone")
    wanted = found.is_bound_to_channel or found.is_direct
    if wanted and MODES.index(mode) < MODES.index("require"):
        if found.mode not in {None, "prefer", "allow"} or found.is_direct:
            raise AddressError("its other TLS parameters contradict its sslmode: write sslmode=require or stronger")
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
