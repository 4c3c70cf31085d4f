"""Makes every connection to PostgreSQL: the pool's and the one that holds the desk's lock go by the same rules.

Servers are tried in the order of the address, the one that answered last before the others. A server that takes no
writes is passed over where the address has several. asyncpg would give all of them together the time that a machine
which vanished uses up alone, and has no keepalives.
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
from db.tls import in_words, tls_for

KEEPALIVE_IDLE_SECONDS: Final = 30
"""Less than any NAT or load balancer forgets a connection in; the shortest known is some minutes."""
KEEPALIVE_INTERVAL_SECONDS: Final = 5
KEEPALIVE_COUNT: Final = 3
UNACKNOWLEDGED_MILLISECONDS: Final = 10_000
"""After so long without a sign of the other side what was sent is lost, and the connection with it (tcp(7))."""
SAID_MAX: Final = 100

Pin = Callable[[], Server | None]
"""Names the one server that is right at this moment; None: any of them."""

_SOCKET_PLACES: Final = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108 - where PostgreSQL listens
_STATEMENTS_MAX: Final = 100
_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"
# What a server says of a setting that it does not know, or of a value that it does not take.
_BAD_SETTING: Final = ("22", "42")
_POOLERS: Final = {
    "no such database": "a pooler is there, which wants it below [databases] (PgBouncer: pgbouncer.ini)",
    "unsupported startup parameter": "a pooler is there, which wants it in ignore_startup_parameters",
}
"""What PgBouncer says that only its own settings mend."""
_CERTAIN: Final = {
    "28P01": "mend the user or the password",
    "28000": "mend the user, or the server's pg_hba.conf",
    "3D000": "mend the name of the database, or make it with CREATE DATABASE",
    "42501": "GRANT CONNECT ON DATABASE lets the user in",
}
"""What a server that is up says of who knocks, by its code (PostgreSQL's manual, "Error Codes"), and the mend."""
_ASKED_ELSEWHERE: Final = re.compile(r"\b(?:LDAP|RADIUS|PAM|BSD|GSSAPI|SSPI)\b", re.ASCII)
"""An authentication that another server decides: that one may be away, and the server says the same of it."""
_WARNINGS: Final = frozenset({"WARNING", "ERROR", "FATAL", "PANIC"})


class DeskConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that knows where it leads to, and gives each transaction its limits."""

    server: Server
    limits: str = ""
    """What is set in each transaction. Of a session it would be refused by a pooler, or left behind for the next."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's signature
        """Run what asyncpg runs; where a transaction begins, in the same message set its limits."""
        if query.startswith("BEGIN"):
            query += self.limits
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


class Dialer:
    """Connects to the servers of one address, and knows which one answered last."""

    def __init__(self, address: PostgresAddress) -> None:
        """Prepare; `only` may be set."""
        self.address: Final = address
        self.server: Server | None = None
        """The one that the latest connection was made to."""
        self.only: Pin = lambda: None
        self._said: deque[str] = deque(maxlen=SAID_MAX)

    async def connect(
        self,
        *,
        application_name: str = "",
        command_seconds: float | None = None,
        limits: str = "",
        writes: bool = False,
        caches: bool = True,
    ) -> DeskConnection:
        """Connect to the first server that will do; `writes`: one that takes no writes will not.

        `limits` are statements, each with its semicolon, that every transaction of the connection begins with. Without
        `caches` nothing is prepared by a name, which a pooler may ask another connection for.

        Raises UnfitServerError when only another setting mends it, NoServerError or the one server's own error.
        """
        tls = tls_for(self.address.parameters.tls)
        settings = {
            "application_name": application_name or self.address.parameters.application_name,
            # An adopted table may have columns with a time zone; what is written without one means UTC.
            "timezone": "UTC",
        }
        errors: list[tuple[Server, BaseException]] = []
        for server in self._candidates():
            try:
                connection: DeskConnection = await asyncpg.connect(
                    host=self._host(server),
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
                    # Each server is asked by us: the environment's PGTARGETSESSIONATTRS is another program's.
                    target_session_attrs="any",
                    connection_class=DeskConnection,
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                errors.append((server, error))
                continue
            try:
                await self._prepare(connection, server, writes=writes or self.address.needs_writable)
            except BaseException as error:
                connection.terminate()
                if not isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
                    raise
                errors.append((server, error))
                continue
            connection.server, connection.limits = server, limits
            self._note(server)
            return connection
        raise _summed_up(errors)

    def _candidates(self) -> list[Server]:
        only = self.only()
        if only is not None:
            return [only]
        first = [self.server] if self.server is not None else []
        return first + [each for each in self.address.servers if each not in first]

    def _note(self, server: Server) -> None:
        if self.server is not None and self.server != server:
            logger.warning("the database is at {} from here on", server)
        self.server = server

    @staticmethod
    def _host(server: Server) -> str:
        if server.host:
            return server.host
        there = [each for each in _SOCKET_PLACES if Path(each, f".s.PGSQL.{server.port}").exists()]
        return there[0] if there else "localhost"

    async def _prepare(self, connection: Any, server: Server, *, writes: bool) -> None:
        connection.add_log_listener(self._listen)
        _keep_alive(connection)
        if writes and await connection.fetchval(_READ_ONLY, timeout=self.address.parameters.connect_seconds):
            raise NoServerError(f"{server} takes no writes: it is a standby, or is made one")
        for name, value in self.address.parameters.settings:
            try:
                # Not in the connection's first message: a pooler refuses what it does not know there.
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
            except asyncpg.PostgresError as error:
                if not str(error.sqlstate).startswith(_BAD_SETTING):
                    raise
                raise UnfitServerError(f"the server does not take the {name} in DATABASE_URL: {error}") from error

    def _listen(self, _connection: Any, message: Any) -> None:
        """Log what the server says of itself, each thing once: it knows of trouble that nobody else sees."""
        severity, said = getattr(message, "severity_en", None) or "", str(message).partition("\n")[0]
        if severity in _WARNINGS and said not in self._said:
            self._said.append(said)
            logger.warning("the database says: {}", said)


def _keep_alive(connection: Any) -> None:
    """Have the kernel ask a connection on which nothing is said, so that who stands in between does not forget it."""
    transport = connection._transport  # noqa: SLF001 - asyncpg shows its socket to nobody, and has no setting for it
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


def _summed_up(errors: list[tuple[Server, BaseException]]) -> BaseException:
    """Make one error of what each server said; one that only a setting mends if that holds for all of them."""
    said, are_unfit = [], True
    for server, error in errors:
        words, is_unfit = _told(error)
        said.append(f"{server}: {words}")
        are_unfit = are_unfit and is_unfit
    if are_unfit:
        return UnfitServerError(f"the database cannot be used as DATABASE_URL says: {'; '.join(said)}")
    if len(errors) == 1 and not isinstance(errors[0][1], ssl.SSLError):
        return errors[0][1]
    return NoServerError(f"no server of DATABASE_URL can be used: {'; '.join(said)}")


def _told(error: BaseException) -> tuple[str, bool]:
    if isinstance(error, UnfitServerError):
        return str(error), True
    if isinstance(error, ssl.SSLError):
        return in_words(error)
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "it has no TLS, and the sslmode in DATABASE_URL asks for it", True
    said = str(error).partition("\n")[0]
    mend = _CERTAIN.get(getattr(error, "sqlstate", None) or "")
    if mend is not None and isinstance(error, asyncpg.PostgresError) and not _ASKED_ELSEWHERE.search(said):
        return f"{said}: {mend}", True
    for words, mend in _POOLERS.items():
        if isinstance(error, asyncpg.PostgresError) and words in said:
            return f"{said}: {mend}", True
    return f"{type(error).__name__}: {said}", False
