"""Lists, counts and retries the entries that wait: events, stuck renewals and quarantined updates.

An entry waits for its next attempt, or for an admin. `waits` is the one condition of the list and the counts, and
`is_retryable` adds the events that a retry takes up beyond the list.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from db.errors import is_refusal
from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import OutboxMessage, QuarantinedUpdate, StripeEvent, Subscription, User
from db.users import lock_users
from payments.audit import events, fact_rows, transitions
from payments.audit.events import find_named
from payments.audit.nested_json import read_json
from payments.errors import UnrecordableError
from payments.notices import handle
from payments.recording.quarantine import LEDGER_UPDATE_ID, QUARANTINE_PREFIX
from payments.recording.updates import read_fact
from payments.refunds.contradicting import is_charge_refunded
from payments.renewals import RENEWAL_PREFIX, where_stuck
from payments.subscriptions.charges import read_chain_of_event

LISTED_MAX: Final = 8
"""Entries of each kind in one list."""
STATES: Final = ("pending", "failed", "parked")
"""States of waiting events: not tried yet, failed and due again, and before an admin."""


def waits() -> ColumnElement[bool]:
    """Return the condition of events that wait; a charge on its way back waits in the row of its refund.

    A settled event waits as well, while the worker cannot settle later news about it.
    """
    failed = and_(
        StripeEvent.status == EventStatus.FAILED,
        or_(StripeEvent.due_at.is_not(None), StripeEvent.outcome == EventOutcome.PARKED),
    )
    has_more = text(f"stripe_events.status = {EventStatus.PROCESSED:d} AND stripe_events.error IS NOT NULL")
    return and_(StripeEvent.origin == ORIGIN, or_(StripeEvent.status == EventStatus.PENDING, failed, has_more))


def is_retryable(event: StripeEvent) -> bool:
    """Tell whether a retry takes up one of our events: each that `waits`, and a settled one due again for news.

    The list leaves the second kind out, because the worker is about to settle it; a retry makes it due at once.
    """
    return transitions.is_open(event) or event.outcome == EventOutcome.PARKED or transitions.has_more(event)


@dataclass(frozen=True, slots=True)
class Pending:
    """A list of waiting entries, at most LISTED_MAX of each kind; `count` is the number of all that wait.

    The oldest events and updates come first, and the renewals whose next charge is the soonest.
    """

    events: Sequence[tuple[StripeEvent, User]]
    renewals: Sequence[tuple[Subscription, User]]
    quarantined: Sequence[QuarantinedUpdate]
    count: int


async def list_pending(session: AsyncSession) -> Pending:
    """Read the list of waiting entries, and count all that wait."""
    waiting = select(StripeEvent, User).join(User, User.id == StripeEvent.customer_id).where(waits())
    found = await session.execute(waiting.order_by(StripeEvent.created_at, StripeEvent.event_id).limit(LISTED_MAX))
    stuck = select(Subscription, User).join(User, User.id == Subscription.user_id).where(where_stuck())
    renewals = await session.execute(
        stuck.order_by(Subscription.current_period_end, Subscription.first_charge_id).limit(LISTED_MAX)
    )
    unresolved = QuarantinedUpdate.resolved_at.is_(None)
    oldest = select(QuarantinedUpdate).where(unresolved).order_by(QuarantinedUpdate.created_at).limit(LISTED_MAX)
    counts = select(
        select(func.count(StripeEvent.id)).where(waits()).scalar_subquery()
        + select(func.count(Subscription.id)).where(where_stuck()).scalar_subquery()
        + select(func.count(QuarantinedUpdate.id)).where(unresolved).scalar_subquery()
    )
    return Pending(
        [(event, user) for event, user in found],
        [(subscription, user) for subscription, user in renewals],
        (await session.scalars(oldest)).all(),
        (await session.scalars(counts)).one(),
    )


def retry_id(row: StripeEvent | Subscription | QuarantinedUpdate) -> str:
    """Return the id by which a command retries a waiting event, renewal or quarantined update."""
    if isinstance(row, StripeEvent):
        return handle(row)
    return RENEWAL_PREFIX + row.first_charge_id if isinstance(row, Subscription) else QUARANTINE_PREFIX + row.id


@dataclass(frozen=True, slots=True)
class Queue:
    """The number of entries that wait, and the moment of recording of the oldest (None: nothing waits)."""

    count: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """The counts of what waits: events by state, undelivered notices, quarantined updates, stuck renewals."""

    events: dict[str, Queue]
    notices: Queue
    quarantined: Queue
    renewals: int
    """Renewals that Telegram was to cancel and has not: an admin decides."""


async def read_backlog(session: AsyncSession) -> Backlog:
    """Count what waits, for the metrics and for `doctor`."""
    state = case(
        (StripeEvent.status == EventStatus.PENDING, "pending"),
        (StripeEvent.due_at.is_not(None), "failed"),
        else_="parked",
    ).label("state")
    by_state = select(state, func.count(), func.min(StripeEvent.created_at)).where(waits()).group_by(state)
    found = {name: Queue(count, oldest_at) for name, count, oldest_at in await session.execute(by_state)}
    owed = select(func.count(), func.min(OutboxMessage.created_at)).where(OutboxMessage.due_at.is_not(None))
    kept = select(func.count(), func.min(QuarantinedUpdate.created_at)).where(QuarantinedUpdate.resolved_at.is_(None))
    notices, quarantined = [(await session.execute(query)).one() for query in (owed, kept)]
    renewals = (await session.scalars(select(func.count()).select_from(Subscription).where(where_stuck()))).one()
    by_name = {name: found.get(name, Queue()) for name in STATES}
    return Backlog(by_name, Queue(*notices), Queue(*quarantined), renewals)


class RetryResult(enum.StrEnum):
    """The result of a retry."""

    BEGUN = "begun"
    """The entry is due at once, or the quarantined update is on record at last."""
    NOT_WAITING = "not_waiting"
    UNKNOWN = "unknown"
    STILL_UNRECORDABLE = "still_unrecordable"
    """The audit table refuses the quarantined update again."""


async def retry(session: AsyncSession, waiting_id: str, now: datetime) -> RetryResult:
    """Make a waiting event or renewal due at once, with no attempts counted, or record a quarantined update.

    `waiting_id` is an `event_id` or its row's UUID, `quarantine:` and a row's id, or `renewal:` and a charge of a
    subscription. The worker, or the loop over subscriptions, does the rest. Raises SQLAlchemy's errors when the
    database is away.
    """
    result = await _retry_event(session, waiting_id, now)
    # An event's id may begin like that too, and a waiting event goes first.
    if result is not RetryResult.BEGUN and waiting_id.startswith(QUARANTINE_PREFIX):
        return await _retry_quarantined(session, waiting_id.removeprefix(QUARANTINE_PREFIX), now)
    if result is not RetryResult.BEGUN and waiting_id.startswith(RENEWAL_PREFIX):
        return await _retry_renewal(session, waiting_id.removeprefix(RENEWAL_PREFIX), now)
    return result


async def _retry_event(session: AsyncSession, name: str, now: datetime) -> RetryResult:
    named = await find_named(session, name)
    event = None if named is None else await events.lock(session, named.event_id)
    if event is None or event.origin != ORIGIN:
        return RetryResult.UNKNOWN
    if not is_retryable(event):
        return RetryResult.NOT_WAITING
    transitions.take_up(event, now)
    return RetryResult.BEGUN


async def _retry_renewal(session: AsyncSession, charge_id: str, now: datetime) -> RetryResult:
    charge = await events.lock(session, charge_id)
    chain = await read_chain_of_event(session, charge) if charge is not None else None
    if chain is None:
        return RetryResult.UNKNOWN
    # A later charge names the row while the first one is on record and still unsettled.
    query = select(Subscription).where(Subscription.first_charge_id.in_([each.charge.id for each in chain.periods]))
    # The row with an error goes first, because a row at rest waits for nothing.
    query = query.order_by(Subscription.error.is_(None))
    row = await session.scalar(query.limit(1), execution_options={"populate_existing": True})
    if row is None:
        return RetryResult.UNKNOWN
    if row.error is None:
        return RetryResult.NOT_WAITING
    row.due_at, row.attempts = now, 0
    return RetryResult.BEGUN


async def _retry_quarantined(session: AsyncSession, row_id: str, now: datetime) -> RetryResult:
    row = await session.get(QuarantinedUpdate, row_id)
    if row is None:
        return RetryResult.UNKNOWN
    if row.update_id == LEDGER_UPDATE_ID:
        return RetryResult.NOT_WAITING
    try:
        # Lock the user before the row, as `erase` does. An erased update keeps its facts about money.
        fact = read_fact(read_json(row.raw) or {})
        await lock_users(session, User.telegram_id == fact.person.telegram_id)
        await session.refresh(row, with_for_update=True)
        if row.resolved_at is not None:
            return RetryResult.NOT_WAITING
        async with session.begin_nested():
            await fact_rows.record(session, [fact], now)
    except UnrecordableError:
        return await _leave_in_quarantine(session, row, now)
    except DBAPIError as error:
        if not is_refusal(error):
            raise
        return RetryResult.STILL_UNRECORDABLE
    row.resolved_at = now
    return RetryResult.BEGUN


async def _leave_in_quarantine(session: AsyncSession, row: QuarantinedUpdate, now: datetime) -> RetryResult:
    """Leave an unrecordable update in quarantine, or resolve it if other refunds gave back all of its charge."""
    try:
        is_over = await is_charge_refunded(session, read_fact(read_json(row.raw) or {}))
    except UnrecordableError:
        is_over = False
    if not is_over:
        return RetryResult.STILL_UNRECORDABLE
    row.resolved_at = now
    return RetryResult.NOT_WAITING
