"""Connects to PostgreSQL by the same rules for the pool of connections and for the desk's lock.

The dialer tries the servers in the order of the address, and first the one that answered last. Where the address has
several servers, it passes over one that takes no writes. asyncpg alone would share one time limit among all servers,
which a machine that vanished uses up by itself, and it has no keepalives.
"""

import re
import socket
import ssl
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
from loguru import logger

from db.address import PostgresAddress, Server
from db.errors import NoServerError, UnfitServerError
from db.tls import explain_tls_error, tls_setting

KEEPALIVE_IDLE_SECONDS: Final = 30
"""Shorter than the time in which any NAT or load balancer forgets a connection; the shortest known is some minutes."""
KEEPALIVE_INTERVAL_SECONDS: Final = 5
KEEPALIVE_COUNT: Final = 3
UNACKNOWLEDGED_MILLISECONDS: Final = 10_000
"""After so long without an acknowledgement the kernel gives up the sent data, and the connection with it (tcp(7))."""
LOGGED_MAX: Final = 100

Pin = Callable[[], Server | None]
"""Returns the one server to use at this moment; None: any of them."""

_SOCKET_PLACES: Final = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108 - where PostgreSQL listens
_STATEMENTS_MAX: Final = 100
_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"
# SQLSTATE classes of a setting that the server does not know, and of a value that it does not take.
_BAD_SETTING: Final = ("22", "42")
_POOLERS: Final = {
    "no such database": "a pooler answers, and needs it below [databases] (PgBouncer: pgbouncer.ini)",
    "unsupported startup parameter": "a pooler answers, and needs it in ignore_startup_parameters",
}
"""Errors of PgBouncer that only its own settings mend."""
_MENDS: Final = {
    "28P01": "mend the user or the password",
    "28000": "mend the user, or the server's pg_hba.conf",
    "3D000": "mend the name of the database, or make it with CREATE DATABASE",
    "42501": "GRANT CONNECT ON DATABASE lets the user in",
}
"""The mend for each SQLSTATE with which a running server refuses a client (PostgreSQL's manual, "Error Codes")."""
_DECIDED_ELSEWHERE: Final = re.compile(r"\b(?:LDAP|RADIUS|PAM|BSD|GSSAPI|SSPI)\b", re.ASCII)
"""Authentication that another server decides: that one may be away, and PostgreSQL's error is the same then."""
_WARNINGS: Final = frozenset({"WARNING", "ERROR", "FATAL", "PANIC"})


class DeskConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection to PostgreSQL that knows its server and gives each transaction its limits."""

    server: Server
    limits: str = ""
    """Statements that set the limits of each transaction. A pooler refuses settings of a session, or leaks them."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's signature
        """Run a statement as asyncpg does; append the transaction's limits to a BEGIN."""
        if query.startswith("BEGIN"):
            query += self.limits
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


class Dialer:
    """Connects to the PostgreSQL servers of one address, and remembers the one that answered last."""

    def __init__(self, address: PostgresAddress) -> None:
        """Prepare to connect; the caller may set `only` to allow one server."""
        self.address: Final = address
        self.server: Server | None = None
        """The server of the latest connection."""
        self.only: Pin = lambda: None
        self._logged: deque[str] = deque(maxlen=LOGGED_MAX)

    async def connect(
        self,
        *,
        application_name: str = "",
        command_seconds: float | None = None,
        limits: str = "",
        writes: bool = False,
        caches: bool = True,
    ) -> DeskConnection:
        """Connect to the first usable server; `writes` passes over a server that takes no writes.

        `limits` are statements, each with its semicolon, that open every transaction of the connection. Without
        `caches` no statement gets a name, because a pooler may run it on another connection.

        Raises UnfitServerError when only another setting mends the connection, NoServerError, or the one server's own
        error.
        """
        tls = tls_setting(self.address.parameters.tls)
        settings = {
            "application_name": application_name or self.address.parameters.application_name,
            # An adopted table may have columns with a time zone; values written without one mean UTC.
            "timezone": "UTC",
        }
        errors: list[tuple[Server, BaseException]] = []
        for server in self._servers_to_try():
            try:
                connection: DeskConnection = await asyncpg.connect(
                    host=self._host_or_socket(server),
                    port=server.port,
                    user=self.address.user,
                    password=self.address.password,
                    passfile=self.address.parameters.passfile,
                    database=self.address.database,
                    ssl=tls,
                    direct_tls=self.address.parameters.tls.is_direct,
                    timeout=self.address.parameters.connect_seconds,
                    command_timeout=command_seconds,
                    statement_cache_size=_STATEMENTS_MAX if caches else 0,
                    server_settings=settings,
                    # The dialer asks each server itself: the environment's PGTARGETSESSIONATTRS is another program's.
                    target_session_attrs="any",
                    connection_class=DeskConnection,
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                errors.append((server, error))
                continue
            try:
                await self._prepare_connection(connection, server, writes=writes or self.address.needs_writable)
            except BaseException as error:
                connection.terminate()
                if not isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
                    raise
                errors.append((server, error))
                continue
            connection.server, connection.limits = server, limits
            self._remember_server(server)
            return connection
        raise _join_server_errors(errors)

    def _servers_to_try(self) -> list[Server]:
        only = self.only()
        if only is not None:
            return [only]
        first = [self.server] if self.server is not None else []
        return first + [each for each in self.address.servers if each not in first]

    def _remember_server(self, server: Server) -> None:
        if self.server is not None and self.server != server:
            logger.warning("the database moved to {}", server)
        self.server = server

    @staticmethod
    def _host_or_socket(server: Server) -> str:
        if server.host:
            return server.host
        there = [each for each in _SOCKET_PLACES if Path(each, f".s.PGSQL.{server.port}").exists()]
        return there[0] if there else "localhost"

    async def _prepare_connection(self, connection: Any, server: Server, *, writes: bool) -> None:
        connection.add_log_listener(self._log_server_message)
        _set_keepalives(connection)
        if writes and await connection.fetchval(_READ_ONLY, timeout=self.address.parameters.connect_seconds):
            raise NoServerError(f"{server} takes no writes: it is a standby, or becomes one")
        for name, value in self.address.parameters.settings:
            try:
                # Not in the connection's first message, because a pooler refuses unknown settings there.
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
            except asyncpg.PostgresError as error:
                if not str(error.sqlstate).startswith(_BAD_SETTING):
                    raise
                raise UnfitServerError(f"the server does not take the {name} in DATABASE_URL: {error}") from error

    def _log_server_message(self, _connection: Any, message: Any) -> None:
        """Log a warning that the server sends, once for each text.

        The log has it because nobody else sees it.
        """
        severity, said = getattr(message, "severity_en", None) or "", str(message).partition("\n")[0]
        if severity in _WARNINGS and said not in self._logged:
            self._logged.append(said)
            logger.warning("the database says: {}", said)


def _set_keepalives(connection: Any) -> None:
    """Set TCP keepalives on a connection, so that no NAT or load balancer forgets it while it is idle."""
    transport = connection._transport  # noqa: SLF001 - asyncpg hides its socket, and has no setting for it
    plain = transport.get_extra_info("socket")
    if plain is None or plain.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MILLISECONDS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            plain.setsockopt(socket.IPPROTO_TCP, option, value)


def _join_server_errors(errors: list[tuple[Server, BaseException]]) -> BaseException:
    """Join the errors of all servers into one; UnfitServerError if only a setting mends each of them."""
    said, are_unfit = [], True
    for server, error in errors:
        words, is_unfit = _explain_server_error(error)
        said.append(f"{server}: {words}")
        are_unfit = are_unfit and is_unfit
    if are_unfit:
        return UnfitServerError(f"the database cannot be used as DATABASE_URL says: {'; '.join(said)}")
    if len(errors) == 1 and not isinstance(errors[0][1], ssl.SSLError):
        return errors[0][1]
    return NoServerError(f"no server of DATABASE_URL can be used: {'; '.join(said)}")


def _explain_server_error(error: BaseException) -> tuple[str, bool]:
    """Explain a server's error in words, and tell whether only another setting mends it."""
    if isinstance(error, UnfitServerError):
        return str(error), True
    if isinstance(error, ssl.SSLError):
        return explain_tls_error(error)
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "it has no TLS, and the sslmode in DATABASE_URL insists on it", True
    said = str(error).partition("\n")[0]
    mend = _MENDS.get(getattr(error, "sqlstate", None) or "")
    if mend is not None and isinstance(error, asyncpg.PostgresError) and not _DECIDED_ELSEWHERE.search(said):
        return f"{said}: {mend}", True
    for words, mend in _POOLERS.items():
        if isinstance(error, asyncpg.PostgresError) and words in said:
            return f"{said}: {mend}", True
    return f"{type(error).__name__}: {said}", False
