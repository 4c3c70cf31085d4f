"""Proves that PostgreSQL gave the desk's lock to our session alone, and that no pooler shares it.

A pooler in transaction mode runs each statement on any free connection of its own, so a lock that one of them took
belongs to everybody. The proof: a second connection must fail to take the lock, and the first must stay with one
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
# The errors of a statement that one connection has prepared and another one runs (PostgreSQL's manual, "Error Codes"),
# and PgBouncer's words where each statement is a transaction of its own.
_OF_POOLERS: Final = frozenset({"42P05", "26000"})
_OF_STATEMENT_MODE: Final = "statement pooling"


def pooler_error() -> WrongDatabaseError:
    """Return the error of a `DATABASE_URL` that leads through a pooler in transaction mode."""
    return WrongDatabaseError(
        "DATABASE_URL leads through a pooler in transaction mode, which cannot hold a lock: give the desk the server's"
        " own address, or a pool of its own in session mode"
    )


@contextmanager
def explain_pooler_errors() -> Iterator[None]:
    """Turn an error that a pooler causes inside of the `with` block into WrongDatabaseError."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_pooler_error(error):
            raise pooler_error() from error
        raise


def is_pooler_error(error: BaseException) -> bool:
    """Tell whether an error, asyncpg's or SQLAlchemy's, comes from a pooler in between."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return getattr(said, "sqlstate", None) in _OF_POOLERS or _OF_STATEMENT_MODE in str(said)


async def prove_lock(dialer: Dialer, connection: Any, key: int, pid: int) -> None:
    """Prove that `connection`, which took the desk's lock in the server's process `pid`, is alone in holding it.

    Raises WrongDatabaseError when it is not, after giving the lock back. Raises the database's errors.
    """
    other = await dialer.connect(application_name=_PROVER, command_seconds=_CLOSE_SECONDS, writes=True, caches=False)
    try:
        if other.server != connection.server:
            raise NoServerError(f"{connection.server} does not answer, and {other.server} does")
        try:
            with explain_pooler_errors():
                for _ in range(ROUNDS):
                    theirs = await other.fetchrow(_TAKE, key)
                    if theirs["is_held"] or theirs["pid"] == pid or await connection.fetchval(_PID) != pid:
                        raise pooler_error()
        except WrongDatabaseError:
            await _release_everywhere([connection, other], key, pid)
            raise
    finally:
        try:
            await other.close(timeout=_CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            other.terminate()


_PROVER: Final = "starledger proof"


async def prove_session_keeps_lock(dialer: Dialer) -> None:
    """Prove on an unused key that a PostgreSQL session keeps its lock, for a command beside the desk that runs."""
    connection = await dialer.connect(application_name=_PROVER, command_seconds=_CLOSE_SECONDS, caches=False)
    try:
        key = randbits(62)
        with explain_pooler_errors():
            taken = await connection.fetchrow(_TAKE, key)
        await prove_lock(dialer, connection, key, taken["pid"])
    finally:
        connection.terminate()


async def _release_everywhere(connections: list[Any], key: int, pid: int) -> None:
    """Release the desk's lock on every connection.

    One is not enough, because a pooler keeps its connections, and the lock, for ever.
    """
    for _ in range(_RELEASES_MAX):
        for connection in connections:
            # Each in one message: a pooler would run a prepared statement on another connection.
            await connection.execute(
                f"SELECT pg_advisory_unlock({key}) {_HOLDERS.format(key)} AND pid = pg_backend_pid()"
            )
    await connections[0].execute(f"SELECT pg_terminate_backend(pid) {_HOLDERS.format(key)} AND pid = {pid}")
