"""INSERT ... ON CONFLICT for SQLite and PostgreSQL, which SQLAlchemy spells once for each engine."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from db.base import Base

Insert = postgresql.Insert | sqlite.Insert
Statement = TypeVar("Statement", bound=Executable)


def insert_into(session: AsyncSession, table: type[Base]) -> Insert:
    """Start an INSERT into `table` that supports `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert(table) if _dialect(session) == "postgresql" else sqlite.insert(table)


class InsertConstant(Generic[Statement]):
    """An INSERT ... ON CONFLICT as a constant of its module, made once for each engine.

    SQLAlchemy keeps what it has computed of a statement on the statement itself, so a constant costs less than a
    statement made for each call. It inserts rows without the ORM, unless it returns objects.
    """

    def __init__(
        self, table: type[Base], complete: Callable[[Insert], Statement], *, returns_objects: bool = False
    ) -> None:
        """Make both statements; `complete` adds the conflict, and what to return."""
        into = table if returns_objects else table.metadata.tables[table.__tablename__]
        self._statements: Final = {
            "postgresql": complete(postgresql.insert(into)),
            "sqlite": complete(sqlite.insert(into)),
        }

    def on(self, session: AsyncSession) -> Statement:
        """Return the statement for the session's engine."""
        return self._statements[_dialect(session)]


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name
