"""Obstacles that make a database refuse, break off or hang, by its own means."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select, text

from db.engine import Database
from db.tables import User


@asynccontextmanager
async def refusing(
    database: Database, operation: str, table: str, *, when: str | None = None, sqlstate: str = "23514"
) -> AsyncIterator[None]:
    """Let a trigger refuse every `operation` (INSERT, UPDATE) on a table in the block, as a broken rule would.

    `when` is a condition on the NEW row; `sqlstate` is what PostgreSQL raises, a plain RAISE EXCEPTION is P0001.
    """
    words = f"RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}';"
    await _run(database, *_trigger(database, operation, table, words, when))
    yield
    await _run(database, f"DROP TRIGGER obstacle{'' if database.is_sqlite else f' ON {table}'}")


@asynccontextmanager
async def breaking_off(database: Database, operation: str, table: str) -> AsyncIterator[None]:
    """Let PostgreSQL end the connection that tries the `operation` on a table in the block, in mid-transaction."""
    words = "PERFORM pg_terminate_backend(pg_backend_pid());"
    await _run(database, *_trigger(database, operation, table, words))
    yield
    await _run(database, f"DROP TRIGGER obstacle ON {table}")


@asynccontextmanager
async def locked(database: Database, url: str, table: str) -> AsyncIterator[None]:
    """Lock a table (SQLite: the file) from another connection in the block, so that a writer waits."""
    other = Database(url)
    try:
        async with other.transaction() as session:
            # SQLite locks at the first statement, whichever it is.
            lock = "SELECT 1" if database.is_sqlite else f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
            await session.execute(text(lock))
            yield
    finally:
        await other.dispose()


@asynccontextmanager
async def locked_user(url: str, telegram_id: int) -> AsyncIterator[None]:
    """Lock one user's row of PostgreSQL from another connection in the block, as another service may."""
    other = Database(url)
    try:
        async with other.transaction() as session:
            await session.execute(select(User.id).where(User.telegram_id == telegram_id).with_for_update())
            yield
    finally:
        await other.dispose()


def _trigger(database: Database, operation: str, table: str, words: str, when: str | None = None) -> list[str]:
    create = f"CREATE TRIGGER obstacle BEFORE {operation} ON {table} FOR EACH ROW"
    if when is not None:
        create += f" WHEN ({when})"
    if database.is_sqlite:
        return [f"{create} BEGIN SELECT RAISE(ABORT, 'no'); END"]
    body = f"BEGIN {words} RETURN NEW; END"
    return [
        f"CREATE OR REPLACE FUNCTION obstacle() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"{create} EXECUTE FUNCTION obstacle()",
    ]


async def _run(database: Database, *statements: str) -> None:
    async with database.transaction() as session:
        for statement in statements:
            await session.execute(text(statement))
