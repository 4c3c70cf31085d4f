"""A shared database with an older service's tables and rows."""

from typing import Final

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

USERS: Final = "CREATE TABLE users (id VARCHAR(36) PRIMARY KEY)"

_EVENTS: Final = """
CREATE TABLE stripe_events (
    id VARCHAR(36) PRIMARY KEY,
    event_id VARCHAR(255) UNIQUE NOT NULL,
    event_type VARCHAR(100) NOT NULL,
    payment_method VARCHAR(50) NOT NULL,
    customer_id VARCHAR(36) NOT NULL,
    amount_cents INTEGER NOT NULL,
    currency VARCHAR(3) NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    webhook_timestamp TIMESTAMP,
    processed_at TIMESTAMP,
    {created_at}FOREIGN KEY (customer_id) REFERENCES users(id)
)
"""

ALEMBIC: Final = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
    "INSERT INTO alembic_version VALUES ('abc123')",
)
"""Another program's migrations in the same database."""

ROWS: Final = (
    "INSERT INTO users (id) VALUES ('u1'), ('u2')",
    """
    INSERT INTO stripe_events
        (id, event_id, event_type, payment_method, customer_id, amount_cents, currency, status,
         webhook_timestamp, processed_at)
    VALUES
        ('e1', 'evt_1', 'charge.succeeded', 'stripe', 'u1', 499, 'USD', 1,
         '2025-05-01 10:00:00', '2025-05-01 10:00:01'),
        ('e2', 'evt_2', 'charge.succeeded', 'stripe', 'u2', 0, 'usd', 7, NULL, NULL)
    """,
)
"""One row in our sense, and one that breaks each rule that our own rows keep."""


def events_table(*, created_at: bool) -> tuple[str, ...]:
    """Return the older service's table and its indexes, with the column `created_at` of its index or without both."""
    indexed = ["customer_id", "status", *(["created_at"] if created_at else [])]
    column = "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, " if created_at else ""
    return (
        _EVENTS.format(created_at=column),
        *(f"CREATE INDEX idx_events_{column} ON stripe_events ({column})" for column in indexed),
    )


async def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run `statements` as another program would, in one transaction; return the rows of the last one."""
    engine = create_async_engine(url, poolclass=NullPool)
    rows: list[tuple[object, ...]] = []
    async with engine.begin() as connection:
        for statement in statements:
            result = await connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
    return rows
