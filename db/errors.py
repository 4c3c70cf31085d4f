"""What can go wrong with the database, and which kind it is.

DeskDatabaseError
├── WrongDatabaseError    the settings lead to a database that we must not use; the process ends with one line
└── DeadlinePassedError   the database did not answer in the time that the caller has

Everything else comes from SQLAlchemy; `is_refusal` says whether the database refused a value or is away.
"""

from sqlalchemy.exc import DBAPIError

_SQLITE_REFUSALS = frozenset({"IntegrityError", "DataError"})
_SQLSTATE_REFUSALS = ("22", "23")


class DeskDatabaseError(Exception):
    """Base of what this package raises."""


class WrongDatabaseError(DeskDatabaseError):
    """The database is another bot's, newer than the program, or cannot take our columns: one line for a person."""


class DeadlinePassedError(DeskDatabaseError):
    """The database did not answer in time; what was asked is withdrawn, or marked when it is done late."""


def is_refusal(error: DBAPIError) -> bool:
    """Tell a value that the database refused (SQLSTATE class 22 or 23) from a database that is away.

    A bad value taken for an outage would hold up everything behind it for ever; an outage taken for a bad value would
    lose the money in it.
    """
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_SQLSTATE_REFUSALS)
    return type(error.orig).__name__ in _SQLITE_REFUSALS
