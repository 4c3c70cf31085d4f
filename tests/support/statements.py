"""Counts of the statements and transactions at the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from db.engine import Database


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements that are executed in the block; BEGIN and COMMIT are none."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    with _listening(database, "before_cursor_execute", note):
        yield said


@contextmanager
def transactions(database: Database) -> Iterator[list[Connection]]:
    """Collect the connections on which a transaction begins in the block, one for each transaction."""
    begun: list[Connection] = []

    def note(connection: Connection) -> None:
        begun.append(connection)

    with _listening(database, "begin", note):
        yield begun


@contextmanager
def _listening(database: Database, name: str, note: Callable[..., None]) -> Iterator[None]:
    """Call `note` at an event of any engine in the block; readers of SQLite have an engine of their own."""
    engines = {engine.sync_engine for engine in (database._writer, database._reader, database._urgent)}
    for engine in engines:
        event.listen(engine, name, note)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, name, note)
