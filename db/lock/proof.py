"""The proof that a lock which PostgreSQL gave is ours alone.

A pooler in transaction mode answers each statement from whichever connection of its own is free: the lock that one of
them took is then everybody's. From a second connection the lock must not be to be had, and the first must stay with one
process of the server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import randbits
from typing import Any, Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from db.dial import Dialer
from db.errors import NoServerError, WrongDatabaseError

ROUNDS: Final = 3
_RELEASES_MAX: Final = 10
_CLOSE_SECONDS: Final = 2
_PID: Final = "SELECT pg_backend_pid() -- of pg_try_advisory_lock"
_TAKE: Final = "SELECT pg_backend_pid() AS pid, pg_try_advisory_lock($1) AS is_held"
_HOLDERS: Final = """
    FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND (classid::bigint << 32 | objid::bigint) = {}
"""
# Statements that were prepared on one connection and are asked for on another (PostgreSQL's manual, "Error Codes"), and
# what PgBouncer says where each statement is on its own.
_OF_POOLERS: Final = frozenset({"42P05", "26000"})
_OF_STATEMENT_MODE: Final = "statement pooling"


def pooler_error() -> WrongDatabaseError:
    """Return what is said of a pooler that mixes connections."""
    return WrongDatabaseError(
        "DATABASE_URL leads through a pooler in transaction mode, where no lock can be held: give the desk the server's"
        " own address, or a pool of its own in session mode"
    )


@contextmanager
def poolers_in_words() -> Iterator[None]:
    """Take what a pooler in transaction mode makes of a statement for what it is. Raises WrongDatabaseError."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_of_pooler(error):
            raise pooler_error() from error
        raise


def is_of_pooler(error: BaseException) -> bool:
    """Tell whether an error, the driver's or SQLAlchemy's, is of a pooler that mixes connections."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return getattr(said, "sqlstate", None) in _OF_POOLERS or _OF_STATEMENT_MODE in str(said)


async def prove(dialer: Dialer, connection: Any, key: int, pid: int) -> None:
    """Prove that the lock of `key`, which `connection` took in the server's process `pid`, is its alone.

    Raises WrongDatabaseError when it is not: the lock is given back then. Raises the database's errors.
    """
    other = await dialer.connect(application_name=_PROVER, command_seconds=_CLOSE_SECONDS, writes=True, caches=False)
    try:
        if other.server != connection.server:
            raise NoServerError(f"{connection.server} does not answer, and {other.server} does")
        try:
            with poolers_in_words():
                for _ in range(ROUNDS):
                    theirs = await other.fetchrow(_TAKE, key)
                    if theirs["is_held"] or theirs["pid"] == pid or await connection.fetchval(_PID) != pid:
                        raise pooler_error()
        except WrongDatabaseError:
            await _let_go([connection, other], key, pid)
            raise
    finally:
        try:
            await other.close(timeout=_CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            other.terminate()


_PROVER: Final = "starledger proof"


async def prove_session(dialer: Dialer) -> None:
    """Prove as `prove`, on a key that nobody uses: for a look beside the desk that runs."""
    connection = await dialer.connect(application_name=_PROVER, command_seconds=_CLOSE_SECONDS, caches=False)
    try:
        key = randbits(62)
        with poolers_in_words():
            taken = await connection.fetchrow(_TAKE, key)
        await prove(dialer, connection, key, taken["pid"])
    finally:
        connection.terminate()


async def _let_go(connections: list[Any], key: int, pid: int) -> None:
    """Give back what was taken, wherever it is: a pooler keeps its connections, and with them the lock for ever."""
    for _ in range(_RELEASES_MAX):
        for connection in connections:
            # Each in one message: what is prepared first would be asked of another connection.
            await connection.execute(
                f"SELECT pg_advisory_unlock({key}) {_HOLDERS.format(key)} AND pid = pg_backend_pid()"
            )
    await connections[0].execute(f"SELECT pg_terminate_backend(pid) {_HOLDERS.format(key)} AND pid = {pid}")
