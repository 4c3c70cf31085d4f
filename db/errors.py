"""Database errors, and the functions that tell an outage from a refused value.

DeskDatabaseError
├── AnotherDeskError      another process is the active desk of this database
└── WrongDatabaseError    the settings lead to a database that we must not use; the process ends with one line
OSError
├── NoServerError         no server of several is of use now, or the only one takes no writes: an outage, for a while
└── UnfitServerError      an outage for a desk that runs; a desk that starts says what to mend, and ends

Everything else comes from SQLAlchemy; `is_refusal` and `is_away` tell a refused value from an outage.
"""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_SQLITE_REFUSALS = frozenset({"IntegrityError", "DataError"})
# SQLSTATE of data exceptions, integrity violations, limits such as an index row's size, and a trigger's own exception.
_SQLSTATE_REFUSALS = ("22", "23", "54", "P0001")
# SQLSTATE of a lock's time-out, a deadlock, a serialization failure, and a statement's time-out.
_SQLSTATE_HELD_UP = frozenset({"55P03", "40P01", "40001", "57014"})


class DeskDatabaseError(Exception):
    """Base of the database errors that this package raises."""


class AnotherDeskError(DeskDatabaseError):
    """Another process is the active desk of this database: one line for a person."""


class WrongDatabaseError(DeskDatabaseError):
    """The database is another bot's, newer than the program, or without room for our columns.

    The text is one line for a person.
    """


class NoServerError(OSError):
    """No PostgreSQL server takes writes now, as during a fail-over: one line for a person."""


class UnfitServerError(OSError):
    """The desk cannot connect to a PostgreSQL server without another setting or certificate: one line for a person.

    A desk that runs treats it as an outage, because somebody may be at work on the server; at the start it is a wrong
    setting.
    """


def another_bots(owner_id: int, bot_id: int) -> WrongDatabaseError:
    """Return the error of a database that belongs to another bot."""
    return WrongDatabaseError(
        f"the database belongs to the bot {owner_id}, and TELEGRAM_BOT_TOKEN is of the bot {bot_id}:"
        " give each bot a database or a schema of its own (DATABASE_URL)"
    )


def is_refusal(error: DBAPIError) -> bool:
    """Tell whether an error means that the database refuses a value, and not that it is away.

    A refused value taken for an outage would hold up everything behind it without end; an outage taken for a refused
    value would lose the money in it.
    """
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_SQLSTATE_REFUSALS)
    return type(error.orig).__name__ in _SQLITE_REFUSALS


def is_away(error: BaseException) -> bool:
    """Tell whether an error means that the database is away, hung, full or locked, so that a retry may succeed."""
    if isinstance(error, DBAPIError):
        return not is_refusal(error)
    # While a server starts or stops, connecting raises asyncpg's own errors; a refused connection is an OSError.
    # A server that does not speak PostgreSQL's protocol causes asyncpg's InternalClientError.
    return isinstance(
        error,
        PoolTimeoutError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError,
    )


def is_held_up(error: BaseException) -> bool:
    """Tell whether only the lock of another transaction causes a database outage, so that other work can go on.

    PostgreSQL only: SQLite has one lock for all, and a writer that cannot get it finds the database away.
    """
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _SQLSTATE_HELD_UP
