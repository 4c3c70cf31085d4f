"""The column type of every moment in the tables: UTC without a time zone."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: UTC in a column without a time zone, an aware datetime in Python, whatever the session's zone.

    It refuses a naive datetime with ValueError, because that would be somebody's local time stored as if it were UTC.
    """

    impl = DateTime
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return the reader of a stored UTC moment; it reads an unreadable value in SQLite as None.

        SQLite stores such a value because other services may write any text there.
        """
        read = super().result_processor(dialect, coltype)
        if read is None or dialect.name != "sqlite":
            return read

        def read_patiently(value: Any) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError):
                return None

        return read_patiently

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Convert an aware datetime into the naive UTC that the column stores."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a datetime without a time zone was given to the database: {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Convert a stored moment into an aware datetime in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)
