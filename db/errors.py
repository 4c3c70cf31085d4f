"""What can go wrong with the database, and which kind it is.

DeskDatabaseError
├── AnotherDeskError      another process is the active desk of this database
└── WrongDatabaseError    the settings lead to a database that we must not use; the process ends with one line
OSError
├── NoServerError         of several servers none can be used now, or the one takes no writes: away, for a while
└── UnfitServerError      away for a desk that runs; a desk that starts says what has to be mended, and ends

Everything else comes from SQLAlchemy; `is_refusal` and `is_away` say whether the database refused a value or is away.
"""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_SQLITE_REFUSALS = frozenset({"IntegrityError", "DataError"})
# Data exceptions, integrity violations, limits such as an index row's size, and a trigger's plain RAISE EXCEPTION.
_SQLSTATE_REFUSALS = ("22", "23", "54", "P0001")
# A lock that was not to be had in time, a deadlock, a serialization failure, a statement's time-out.
_SQLSTATE_HELD_UP = frozenset({"55P03", "40P01", "40001", "57014"})


class DeskDatabaseError(Exception):
    """Base of what this package raises."""


class AnotherDeskError(DeskDatabaseError):
    """Another process is the active desk of this database: one line for a person."""


class WrongDatabaseError(DeskDatabaseError):
    """The database is another bot's, newer than the program, or cannot take our columns: one line for a person."""


class NoServerError(OSError):
    """No server takes writes now, as while one of them takes over from another: one line for a person."""


class UnfitServerError(OSError):
    """The server is there, and only another setting or another certificate makes a connection: one line for a person.

    Away for a desk that runs, because somebody may be at it; at the start it is a wrong setting.
    """


def another_bots(owner_id: int, bot_id: int) -> WrongDatabaseError:
    """Return what is said of a database that is another bot's."""
    return WrongDatabaseError(
        f"the database belongs to the bot {owner_id}, and TELEGRAM_BOT_TOKEN is of the bot {bot_id}:"
        " give each bot a database or a schema of its own (DATABASE_URL)"
    )


def is_refusal(error: DBAPIError) -> bool:
    """Tell a value that the database refused from a database that is away.

    A bad value taken for an outage would hold up everything behind it for ever; an outage taken for a bad value would
    lose the money in it.
    """
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_SQLSTATE_REFUSALS)
    return type(error.orig).__name__ in _SQLITE_REFUSALS


def is_away(error: BaseException) -> bool:
    """Tell whether an error says that the database is away, hung, full or locked: what was asked can be asked again."""
    if isinstance(error, DBAPIError):
        return not is_refusal(error)
    # While a server starts or stops, asyncpg's own errors come through from the connect; a refused one is an OSError.
    # An answer in a language that is not PostgreSQL's is asyncpg's InternalClientError.
    return isinstance(
        error,
        PoolTimeoutError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError,
    )


def is_held_up(error: BaseException) -> bool:
    """Tell of an error that `is_away` holds for whether only somebody's lock is behind it: others can be served.

    PostgreSQL only: SQLite has one lock for all, and who cannot have it finds the database away.
    """
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _SQLSTATE_HELD_UP
