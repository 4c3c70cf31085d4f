"""The rows of Telegram's ledger as they came, in `ledger_rows`: filled by every reading of a page, in its transaction.

A row is known by its id and direction. Only what was not known yet is written: a row that came in, or a withdrawal's
state. What cannot be kept as a row (no id, no date, an amount that no column holds, another amount under a known id) is
kept raw in `quarantine`, where nobody has to take it up: it stands there at rest.
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
from payments.recording.quarantine import LEDGER_UPDATE_ID, keep_raw

QUARANTINED_MAX: Final = 1_000
"""Rows of the ledger that are kept raw: one that lies throughout is known by the first of them."""

_CONTRADICTS: Final = "another amount or date than the row on record has"

_Key = tuple[str, str]


async def keep(
    session: AsyncSession, rows: Sequence[LedgerRow], charge_ids: Iterable[str], first_place: int, now: datetime
) -> None:
    """Keep the rows of a page; those of `charge_ids` are of an invoice, `first_place` is where the first one stands.

    A row that the database refuses costs none of the others. Raises SQLAlchemy's errors when the database is away.
    """
    charges = frozenset(charge_ids)
    values: dict[_Key, dict[str, Any]] = {}
    for place, row in enumerate(rows, first_place):
        if row.id is not None and row.happened_at is not None:
            # The first of two that contradict each other in one page is the one that is kept.
            values.setdefault((row.id, row.direction.value), _values(row, charges, place, now))
    known = await _known(session, values)
    new = [each for key, each in values.items() if key not in known]
    try:
        async with session.begin_nested():
            await _insert(session, new)
    except DBAPIError as error:
        if not is_refusal(error):
            raise
        await _insert_one_by_one(session, new, now)
    await _learn(session, known, values)
    await _set_aside(session, rows, values, known, now)


async def learn_states(session: AsyncSession, rows: Sequence[LedgerRow]) -> None:
    """Take over the states of withdrawals that are on record from rows that were read once more."""
    values = {(row.id, row.direction.value): {"state": row.state} for row in rows if row.id is not None}
    await _learn(session, await _known(session, values), values)


async def pending_places(session: AsyncSession, before_place: int) -> list[int]:
    """List where withdrawals stand that were pending when they were read, of the rows before a place, in order."""
    query = select(LedgerEntry.place).where(LedgerEntry.state == PENDING, LedgerEntry.place < before_place)
    return [place for place in await session.scalars(query.order_by(LedgerEntry.place)) if place is not None]


def _values(row: LedgerRow, charges: frozenset[str], place: int, now: datetime) -> dict[str, Any]:
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


async def _known(session: AsyncSession, keys: Iterable[_Key]) -> dict[_Key, LedgerEntry]:
    wanted = list(keys)
    if not wanted:
        return {}
    # By the id alone: a list of pairs makes SQLite read the table.
    query = select(LedgerEntry).where(LedgerEntry.id.in_({each for each, _ in wanted}))
    found = {(entry.id, entry.direction): entry for entry in await session.scalars(query)}
    return {key: found[key] for key in wanted if key in found}


async def _insert(session: AsyncSession, values: Sequence[Mapping[str, Any]]) -> None:
    if values:
        insert = insert_into(session, LedgerEntry).on_conflict_do_nothing(index_elements=["id", "direction"])
        await session.execute(insert, list(values), execution_options={"render_nulls": True})


async def _insert_one_by_one(session: AsyncSession, values: Sequence[Mapping[str, Any]], now: datetime) -> None:
    for each in values:
        try:
            async with session.begin_nested():
                await _insert(session, [each])
        except DBAPIError as error:
            if not is_refusal(error):
                raise
            logger.bind(row_id=each["id"]).error("the database refuses a row of the ledger: {}", error.orig)
            raw = {name: str(value) for name, value in each.items() if value is not None}
            await keep_raw(session, raw, f"{type(error).__name__}: {error.orig}", now)


async def _learn(
    session: AsyncSession, known: Mapping[_Key, LedgerEntry], values: Mapping[_Key, Mapping[str, Any]]
) -> None:
    """Fill in what was not known of rows on record, and change the state of those that have another one."""
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


async def _set_aside(
    session: AsyncSession,
    rows: Sequence[LedgerRow],
    values: Mapping[_Key, Mapping[str, Any]],
    known: Mapping[_Key, LedgerEntry],
    now: datetime,
) -> None:
    """Keep raw what is no row of the table, up to QUARANTINED_MAX of all times."""
    aside: list[tuple[LedgerRow, str]] = []
    for row in rows:
        reason = _reason(row, values, known)
        if reason is not None:
            aside.append((row, reason))
    if not aside:
        return
    count = select(func.count()).where(QuarantinedUpdate.update_id == LEDGER_UPDATE_ID)
    room = QUARANTINED_MAX - (await session.scalar(count) or 0)
    for row, reason in aside[: max(0, room)]:
        await keep_raw(session, row.raw or _as_read(row), reason, now)


def _reason(row: LedgerRow, values: Mapping[_Key, Mapping[str, Any]], known: Mapping[_Key, LedgerEntry]) -> str | None:
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


def _as_read(row: LedgerRow) -> dict[str, Any]:
    """Return a row of which only what was read is at hand."""
    return {
        "id": row.id,
        "direction": row.direction.value,
        "kind": row.kind,
        "nanostars": row.nanostars,
        "date": None if row.happened_at is None else int(row.happened_at.timestamp()),
        "state": row.state,
    }
