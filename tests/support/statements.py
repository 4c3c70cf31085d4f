"""Counts of the statements sent to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from db.engine import Database


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements that are executed in the block; BEGIN and COMMIT are none.

    Readers of SQLite have an engine of their own and are counted as well.
    """
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.split(maxsplit=1)[0] != "BEGIN":
            said.append(statement)

    engines = {engine.sync_engine for engine in (database._writer, database._reader, database._urgent)}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
