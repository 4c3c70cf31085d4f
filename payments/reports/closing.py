"""Closes a month of Telegram's ledger: opening balance, movements, closing balance, and doubts about them.

A month closes when a reconciliation after its end has reached the ledger's end, all rows add up to the bot's balance
(Bot API, getMyStarBalance), and `ledger_rows` has every row that a scan has read. The module imports no aiogram.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.states import Direction
from db.tables import LedgerEntry, LedgerReading
from payments.ledger import progress
from payments.ledger.kept import count_quarantined_rows
from payments.ledger.partners import WITHDRAWAL_KIND
from payments.reports.spans import Span

WITHDRAWALS_MAX: Final = 100
"""A month's closing lists so many withdrawals; its sums include all of them."""


class Doubt(enum.StrEnum):
    """A reason why a month of the ledger stays open."""

    NOT_READ = "not_read"
    """No reconciliation has reached the ledger's end since the reading began at its first row."""
    PASS_WANTED = "pass_wanted"  # noqa: S105 - no password
    """A whole pass over the ledger has yet to complete."""
    NOT_OVER = "not_over"
    """The month ended after the last complete reconciliation."""
    STILL_READING = "still_reading"
    """The desk has read rows since the last reconciliation that reached the ledger's end."""
    NOT_KEPT = "not_kept"
    """`ledger_rows` lacks some of the rows that scans have read."""
    NO_BALANCE = "no_balance"
    """The Bot API server is too old to tell the balance."""
    BALANCE_OFF = "balance_off"
    """The balance differs from the sum of all rows."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A month's ledger rows of one direction and kind, in nanostars; `commission` is the affiliates' part of them."""

    direction: str
    kind: str
    count: int
    nanostars: int
    commission_nanostars: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal of Stars in the month; with `direction` in, Stars that came back from one, or a deposit."""

    id: str
    direction: str
    happened_at: datetime
    state: str | None
    nanostars: int


@dataclass(frozen=True, slots=True)
class Closing:
    """A month's closing. All amounts are in nanostars; outgoing amounts are positive in `movements`.

    `after` is the sum of later rows, `read` the sum of all rows that scans have read. `balance` is Telegram's word at
    `compared_at`; it had `balance_off` more than the rows then. `set_aside` counts the rows in quarantine.
    """

    span: Span
    opening: int
    movements: Sequence[Movement]
    after: int
    withdrawals: Sequence[Withdrawal]
    read: int
    balance: int | None
    balance_off: int
    compared_at: datetime | None
    is_pass_wanted: bool
    set_aside: int

    @property
    def came_in(self) -> int:
        """The nanostars that came in during the month."""
        return sum(each.nanostars for each in self.movements if each.direction == Direction.IN)

    @property
    def went_out(self) -> int:
        """The nanostars that went out during the month."""
        return sum(each.nanostars for each in self.movements if each.direction == Direction.OUT)

    @property
    def closing(self) -> int:
        """The closing balance of the month, in nanostars."""
        return self.opening + self.came_in - self.went_out

    @property
    def doubts(self) -> list[Doubt]:
        """The reasons why the month stays open; empty: the month is closed."""
        if self.is_pass_wanted:
            return [Doubt.PASS_WANTED]
        if self.compared_at is None:
            return [Doubt.NOT_READ]
        balance_then = self.balance if self.balance is not None else self.read
        doubts = {
            Doubt.NOT_OVER: self.compared_at < self.span.until,
            Doubt.STILL_READING: balance_then - self.balance_off != self.read,
            Doubt.NOT_KEPT: self.closing + self.after != self.read,
            Doubt.NO_BALANCE: self.balance is None,
            Doubt.BALANCE_OFF: bool(self.balance_off),
        }
        return [doubt for doubt, is_there in doubts.items() if is_there]


async def read_closing(database: Database, span: Span) -> Closing:
    """Read a month's closing from all kept rows of the ledger. Raises SQLAlchemy's errors."""
    async with database.reading() as session:
        if not database.is_sqlite:
            # One snapshot must give both rows and progress, because a reconciliation may run beside this.
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        reading = await progress.find(session) or LedgerReading(nanostars=0)
        sums = await _sum_movements(session, span)
        return Closing(
            span=span,
            opening=_sum_nanostars(sums[_BEFORE]),
            movements=sums[_WITHIN],
            after=_sum_nanostars(sums[_AFTER]),
            withdrawals=await _read_withdrawals(session, span),
            read=reading.nanostars,
            balance=reading.balance_nanostars,
            balance_off=reading.balance_off_nanostars or 0,
            compared_at=reading.compared_at,
            is_pass_wanted=reading.pass_wanted_at is not None,
            set_aside=await count_quarantined_rows(session),
        )


_BEFORE, _WITHIN, _AFTER = range(3)


async def _sum_movements(session: AsyncSession, span: Span) -> tuple[list[Movement], ...]:
    """Add up the ledger rows before, in and after a month, by direction and kind."""
    part = case(
        (LedgerEntry.happened_at < span.since, _BEFORE), (LedgerEntry.happened_at < span.until, _WITHIN), else_=_AFTER
    ).label("part")
    query = select(
        part,
        LedgerEntry.direction,
        LedgerEntry.kind,
        func.count(),
        func.sum(LedgerEntry.amount_nanostars),
        func.sum(func.coalesce(LedgerEntry.commission_nanostars, 0)),
    ).group_by("part", LedgerEntry.direction, LedgerEntry.kind)
    sums: tuple[list[Movement], ...] = ([], [], [])
    for where, direction, kind, count, nanostars, commission in await session.execute(query):
        sums[where].append(Movement(direction, kind, count, int(nanostars), int(commission)))
    for each in sums:
        each.sort(key=lambda movement: (movement.direction, -movement.nanostars, movement.kind))
    return sums


def _sum_nanostars(movements: Sequence[Movement]) -> int:
    """Add up movements of the ledger: incoming less outgoing nanostars."""
    return sum(each.nanostars * (1 if each.direction == Direction.IN else -1) for each in movements)


async def _read_withdrawals(session: AsyncSession, span: Span) -> list[Withdrawal]:
    """Read the first WITHDRAWALS_MAX withdrawals of a month, by date."""
    query = (
        select(
            LedgerEntry.id,
            LedgerEntry.direction,
            LedgerEntry.happened_at,
            LedgerEntry.state,
            LedgerEntry.amount_nanostars,
        )
        .where(LedgerEntry.charge_id.is_(None), LedgerEntry.kind == WITHDRAWAL_KIND)
        .where(LedgerEntry.happened_at >= span.since, LedgerEntry.happened_at < span.until)
        .order_by(LedgerEntry.happened_at, LedgerEntry.id, LedgerEntry.direction)
        .limit(WITHDRAWALS_MAX)
    )
    return [Withdrawal(*row) for row in await session.execute(query)]
