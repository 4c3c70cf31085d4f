"""The desk's lock as the rest of the program sees it, chosen by `DATABASE_URL`: PostgreSQL's or a lock file.

The lock keeps two pollers from taking each other's updates. Idempotency never rests on it, because the operator's
commands run beside the daemon.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from db.address import Server, SqliteAddress, parse_database_url
from db.dial import Dialer
from db.lock.advisory_lock import AdvisoryLock
from db.lock.file_lock import FileLock
from db.lock.holder import Holder, find_holder, find_key
from db.lock.proof import prove_session_keeps_lock
from db.timings import PRODUCTION, Timings

_IS_TLS: Final = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class DeskLock(Protocol):
    """The desk's lock on a database: the right to poll Telegram."""

    is_standing_by: bool
    """True while `acquire` waits for the desk that holds the lock."""
    holder: Holder | None
    """The session that holds the lock while we do not, as far as we know it."""
    trouble: str | None
    """An obstacle to the lock that only a person can end, in words; None: there is none."""
    on_doubt: Callable[[], None]
    """The lock calls it when the server does not answer."""

    @property
    def server(self) -> Server | None:
        """The PostgreSQL server on which we hold the desk's lock; None: we do not hold it, or it is a file."""

    async def acquire(self) -> None:
        """Take the desk's lock; on PostgreSQL wait for it without a limit of time, and prove that nobody shares it.

        Raises AnotherDeskError on SQLite. PostgreSQL: WrongDatabaseError when the database belongs to another bot or is
        behind a pooler that holds no lock, UnfitServerError and NoServerError as db.dial.
        """

    async def ensure(self) -> None:
        """Make sure before a write that we hold the desk's lock; take it again if its connection has died.

        Raises AnotherDeskError when another desk holds the lock, and the database's errors when the database is away.
        """

    async def release(self) -> None:
        """Give back the desk's lock."""


def desk_lock(url: str, bot_id: int = 0, timings: Timings = PRODUCTION) -> DeskLock:
    """Return the desk's lock for a `DATABASE_URL`; `bot_id` 0 means the bot that owns the database.

    On PostgreSQL each bot in each schema has a lock of its own. Raises AddressError.
    """
    address = parse_database_url(url)
    if isinstance(address, SqliteAddress):
        return FileLock(Path(f"{address.url.database}.lock"))
    return AdvisoryLock(Dialer(address), bot_id, timings)


@dataclass(frozen=True, slots=True)
class LockReport:
    """The desk's lock seen from outside: its server, and the session that holds it."""

    server: Server
    is_tls: bool
    holder: Holder | None


async def read_lock_report(url: str, bot_id: int) -> LockReport:
    """Read the server of the desk's lock on PostgreSQL and the session that holds it, for a command; take no lock.

    Raises WrongDatabaseError as `DeskLock.acquire`, and the errors of db.dial.
    """
    address = parse_database_url(url)
    if isinstance(address, SqliteAddress):
        raise TypeError("the lock of a file has no server")
    dialer = Dialer(address)
    await prove_session_keeps_lock(dialer)
    connection: Any = await dialer.connect(command_seconds=PRODUCTION.lock_answer_seconds, caches=False)
    try:
        holder = await find_holder(connection, await find_key(connection, bot_id))
        return LockReport(connection.server, bool(await connection.fetchval(_IS_TLS)), holder)
    finally:
        await connection.close(timeout=PRODUCTION.lock_answer_seconds)
