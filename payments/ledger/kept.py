"""Keeps a copy of Telegram's ledger in `ledger_rows`: a scan adds each page to it, in the page's transaction.

A row's key is its id and direction. A reading writes new rows, and fills in unknown columns and withdrawal states of
known ones. A row that does not fit the table (no id, no date, an amount out of range, another amount under a known id)
goes raw into `quarantine`, already resolved, because a retry would meet the same row.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from loguru import logger
from sqlalchemy import func, select, tuple_, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from db.errors import is_refusal
from db.insert import insert_into
from db.tables import LedgerEntry, QuarantinedUpdate
from payments.ledger.partners import PENDING, UNKNOWN_KIND
from payments.ledger.rows import LedgerRow
from payments.recording.quarantine import LEDGER_UPDATE_ID, quarantine_ledger_row

QUARANTINED_ROWS_MAX: Final = 1_000
"""The quarantine keeps so many raw ledger rows: the first thousand are enough to judge a ledger that is wrong
throughout.
"""

_CONTRADICTS: Final = "another amount or date than the row on record has"

_Key = tuple[str, str]


async def keep_ledger_rows(
    session: AsyncSession, rows: Sequence[LedgerRow], charge_ids: Iterable[str], first_place: int, now: datetime
) -> None:
    """Keep the rows of a ledger page in `ledger_rows`.

    `charge_ids` are the charges of invoices; `first_place` is the first row's place in the ledger. A row that the
    database refuses goes into quarantine, without the others. Raises SQLAlchemy's errors when the database is away.
    """
    charges = frozenset(charge_ids)
    values: dict[_Key, dict[str, Any]] = {}
    for place, row in enumerate(rows, first_place):
        if row.id is not None and row.happened_at is not None:
            # If two rows of a page contradict each other, the table keeps the first one.
            values.setdefault((row.id, row.direction.value), _entry_values(row, charges, place, now))
    known = await _read_entries(session, values)
    new = [each for key, each in values.items() if key not in known]
    try:
        async with session.begin_nested():
            await _insert_entries(session, new)
    except DBAPIError as error:
        if not is_refusal(error):
            raise
        await _insert_entries_one_by_one(session, new, now)
    await _fill_in_entries(session, known, values)
    await _quarantine_unkeepable(session, rows, values, known, now)


async def update_withdrawal_states(session: AsyncSession, rows: Sequence[LedgerRow]) -> None:
    """Update the states of kept withdrawals from ledger rows that a reconciliation has read again."""
    values = {(row.id, row.direction.value): {"state": row.state} for row in rows if row.id is not None}
    await _fill_in_entries(session, await _read_entries(session, values), values)


async def find_pending_withdrawals(session: AsyncSession, before_place: int) -> list[int]:
    """List in order the ledger places before `before_place` whose kept withdrawals are pending."""
    query = select(LedgerEntry.place).where(LedgerEntry.state == PENDING, LedgerEntry.place < before_place)
    return [place for place in await session.scalars(query.order_by(LedgerEntry.place)) if place is not None]


def _entry_values(row: LedgerRow, charges: frozenset[str], place: int, now: datetime) -> dict[str, Any]:
    """Return the column values under which `ledger_rows` keeps a ledger row."""
    commission = row.commission
    return {
        "id": row.id,
        "direction": row.direction.value,
        "kind": row.kind,
        "amount_nanostars": abs(row.nanostars),
        "happened_at": row.happened_at,
        "state": row.state,
        "telegram_id": row.telegram_id,
        "charge_id": row.id if row.id in charges else None,
        "commission_nanostars": None if commission is None else commission.nanostars,
        "affiliate_id": None if commission is None else commission.affiliate_id,
        "place": place,
        "recorded_at": now,
    }


async def _read_entries(session: AsyncSession, keys: Iterable[_Key]) -> dict[_Key, LedgerEntry]:
    """Read the kept ledger rows with these keys."""
    wanted = list(keys)
    if not wanted:
        return {}
    # Filter by the id alone, because a list of pairs makes SQLite read the whole table.
    query = select(LedgerEntry).where(LedgerEntry.id.in_({each for each, _ in wanted}))
    found = {(entry.id, entry.direction): entry for entry in await session.scalars(query)}
    return {key: found[key] for key in wanted if key in found}


async def _insert_entries(session: AsyncSession, values: Sequence[Mapping[str, Any]]) -> None:
    """Insert new ledger rows into `ledger_rows`; skip a key that another process has inserted."""
    if values:
        insert = insert_into(session, LedgerEntry).on_conflict_do_nothing(index_elements=["id", "direction"])
        await session.execute(insert, list(values), execution_options={"render_nulls": True})


async def _insert_entries_one_by_one(session: AsyncSession, values: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Insert ledger rows one by one, and quarantine each that the database refuses."""
    for each in values:
        try:
            async with session.begin_nested():
                await _insert_entries(session, [each])
        except DBAPIError as error:
            if not is_refusal(error):
                raise
            logger.bind(row_id=each["id"]).error("the database refuses a ledger row: {}", error.orig)
            raw = {name: str(value) for name, value in each.items() if value is not None}
            await quarantine_ledger_row(session, raw, f"{type(error).__name__}: {error.orig}", now)


async def _fill_in_entries(
    session: AsyncSession, known: Mapping[_Key, LedgerEntry], values: Mapping[_Key, Mapping[str, Any]]
) -> None:
    """Fill in unknown columns of kept ledger rows, and update their withdrawal states."""
    for key, entry in known.items():
        said = values[key]
        learned = {
            name: said[name]
            for name in ("telegram_id", "charge_id", "commission_nanostars", "affiliate_id")
            if name in said and said[name] is not None and getattr(entry, name) is None
        }
        if said.get("kind", UNKNOWN_KIND) != UNKNOWN_KIND and entry.kind == UNKNOWN_KIND:
            learned["kind"] = said["kind"]
        if said["state"] is not None and said["state"] != entry.state:
            learned["state"] = said["state"]
        if learned:
            which = tuple_(LedgerEntry.id, LedgerEntry.direction) == key
            change = update(LedgerEntry).where(which).values(learned)
            await session.execute(change, execution_options={"synchronize_session": False})


async def _quarantine_unkeepable(
    session: AsyncSession,
    rows: Sequence[LedgerRow],
    values: Mapping[_Key, Mapping[str, Any]],
    known: Mapping[_Key, LedgerEntry],
    now: datetime,
) -> None:
    """Quarantine the ledger rows that do not fit `ledger_rows`, at most QUARANTINED_ROWS_MAX in all."""
    aside: list[tuple[LedgerRow, str]] = []
    for row in rows:
        reason = _quarantine_reason(row, values, known)
        if reason is not None:
            aside.append((row, reason))
    if not aside:
        return
    room = QUARANTINED_ROWS_MAX - await count_quarantined_rows(session)
    for row, reason in aside[: max(0, room)]:
        await quarantine_ledger_row(session, row.raw or _row_as_read(row), reason, now)


async def count_quarantined_rows(session: AsyncSession) -> int:
    """Count the ledger rows in quarantine, which `ledger_rows` may lack."""
    count = select(func.count()).where(QuarantinedUpdate.update_id == LEDGER_UPDATE_ID)
    return await session.scalar(count) or 0


def _quarantine_reason(
    row: LedgerRow, values: Mapping[_Key, Mapping[str, Any]], known: Mapping[_Key, LedgerEntry]
) -> str | None:
    """Return the reason to quarantine a ledger row; None: the row fits `ledger_rows`."""
    if row.id is None or row.happened_at is None:
        return row.problem
    key = (row.id, row.direction.value)
    entry = known.get(key)
    there = (
        (values[key]["amount_nanostars"], values[key]["happened_at"])
        if entry is None
        else (entry.amount_nanostars, entry.happened_at)
    )
    if (abs(row.nanostars), row.happened_at) != there:
        return _CONTRADICTS
    if row.problem is not None:
        return row.problem
    return None if row.commission is None else row.commission.problem


def _row_as_read(row: LedgerRow) -> dict[str, Any]:
    """Return the fields of a ledger row for the quarantine, if the row has no raw JSON."""
    return {
        "id": row.id,
        "direction": row.direction.value,
        "kind": row.kind,
        "nanostars": row.nanostars,
        "date": None if row.happened_at is None else int(row.happened_at.timestamp()),
        "state": row.state,
    }
