"""Copies of rows in a bench database, made by SQL: a million rows in seconds."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, text

from db.engine import Database
from db.tables import Base

Copies = Mapping[str, Mapping[str, str]]
"""The tables to multiply, in the order of their foreign keys, with the SQL of the columns that differ in each copy;
`i` is the copy's number, from 0."""

_NUMBERED_BY_THE_DATABASE: Final = ("outbox.id",)


async def multiply(database: Database, copies: Copies, counts: Mapping[str, int], original: str = "TRUE") -> None:
    """Copy the one row of each table so many times; `original` is the SQL condition that finds it among others."""
    async with database.migration() as connection:
        for name, changed in copies.items():
            await connection.run_sync(_copy, Base.metadata.tables[name], changed, counts[name], original)


def _copy(connection: Connection, table: Table, changed: Mapping[str, str], count: int, original: str) -> None:
    columns = [column.name for column in table.columns if str(column) not in _NUMBERED_BY_THE_DATABASE]
    values = [changed.get(name, f"original.{name}") for name in columns]
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({', '.join(columns)}) WITH RECURSIVE n (i) AS"  # noqa: S608 - our own names
            " (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
            f" SELECT {', '.join(values)} FROM {table.name} AS original CROSS JOIN n WHERE {original}"
        ),
        {"last": count - 1},
    )
