"""Exports the audit table row by row for accounting, in the order of recording, in short reads."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, and_, func, not_, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.tables import StripeEvent, User

FIELDS: Final = (
    "event_id",
    "event_type",
    "payment_method",
    "telegram_id",
    "customer_id",
    "amount_cents",
    "currency",
    "status",
    "outcome",
    "origin",
    "webhook_timestamp",
    "created_at",
    "processed_at",
    "refund_of",
    "reason",
    "requested_by",
    "error",
)
"""The fields of an exported audit row: columns of docs/database.md and the user's Telegram id, without names."""

BATCH: Final = 1_000

Row = dict[str, Any]


async def count_rows(session: AsyncSession) -> int:
    """Count the audit rows of all services, for the progress of an export."""
    return await session.scalar(select(func.count()).select_from(StripeEvent)) or 0


async def read_rows(database: Database, batch_rows: int = BATCH) -> AsyncIterator[list[Row]]:
    """Yield all audit rows in batches, with the fields of `FIELDS`; times are aware, UTC, amounts in minor units.

    Rows of other services without a readable date of recording come first, then all others by that date. Each batch has
    a transaction of its own, so that a slow reader holds up nobody.
    """
    has_date = _has_readable_date(is_sqlite=database.is_sqlite)
    undated = _select_export_rows().where(not_(has_date)).order_by(StripeEvent.id)
    last_id = ""
    while batch := await _read_batch(database, batch_rows, undated.where(StripeEvent.id > last_id)):
        yield [row for _, row in batch]
        last_id = batch[-1][0]
    dated = _select_export_rows().where(has_date).order_by(StripeEvent.created_at, StripeEvent.id)
    query = dated
    while batch := await _read_batch(database, batch_rows, query):
        yield [row for _, row in batch]
        last_id, last = batch[-1]
        recorded_at = last["created_at"]
        # The first condition lets every engine use the index on `created_at`.
        later = or_(StripeEvent.created_at > recorded_at, StripeEvent.id > last_id)
        query = dated.where(StripeEvent.created_at >= recorded_at, later)


def _has_readable_date(*, is_sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that an audit row has a readable date of recording."""
    # SQLite keeps any text that another service writes there, and the export can go on only from a date.
    if not is_sqlite:
        return StripeEvent.created_at.is_not(None)
    written = type_coerce(StripeEvent.created_at, String)
    day = func.substr(written, 1, 10)
    return func.coalesce(and_(day == func.strftime("%Y-%m-%d", written), day >= "0001-01-01"), False)


def _select_export_rows() -> Select[Any]:
    """Select the columns of an export: row id, the user's Telegram id, and the other fields of an audit row."""
    columns = [getattr(StripeEvent, name) for name in FIELDS if name != "telegram_id"]
    return select(StripeEvent.id, User.telegram_id, *columns).outerjoin(User, User.id == StripeEvent.customer_id)


async def _read_batch(database: Database, batch_rows: int, query: Select[Any]) -> list[tuple[str, Row]]:
    """Read a batch of audit rows for an export, each with its row id."""
    async with database.reading() as session:
        rows = (await session.execute(query.limit(batch_rows))).mappings()
        return [(found.id, {name: found[name] for name in FIELDS}) for found in rows]
