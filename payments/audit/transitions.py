"""Moves an audit row's status: processed, set aside, replaced, or failed and due again after a backoff.

The moves are 0 to 1, 0 to 2 and 2 to 1. The work of a row that keeps its status changes here as well. The caller holds
the row's lock and its user's.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.loop import backoff, where_claimed

ATTEMPTS_MAX: Final = 10
"""After so many attempts, about an hour, a failing row is parked for an admin, unless the failure is an outage."""


def is_open(event: StripeEvent) -> bool:
    """Tell whether an audit row is open: at status 0, or due again after a failure or for news."""
    return event.status == EventStatus.PENDING or event.due_at is not None


def has_more(event: StripeEvent) -> bool:
    """Tell whether a settled audit row has news that waits for an admin."""
    return event.status == EventStatus.PROCESSED and event.error is not None and event.due_at is None


def close(event: StripeEvent, outcome: EventOutcome, now: datetime) -> None:
    """Close an audit row as processed: status 0 or 2 becomes 1, and the row's work is done."""
    event.status = EventStatus.PROCESSED
    event.outcome = outcome
    event.processed_at = now
    event.due_at = event.claimed_until = event.error = None


def set_aside(
    event: StripeEvent, outcome: EventOutcome | None, reason: str, *, parked_at: datetime | None = None
) -> None:
    """Set an audit row aside at status 2: parked, foreign, or with outcome None until the refund is through.

    `parked_at` is the present by Telegram's time; a row that is parked again keeps the first date. A processed row
    stays processed, and only its work ends.
    """
    if event.status != EventStatus.PROCESSED:
        event.status = EventStatus.FAILED
        if outcome is EventOutcome.PARKED:
            event.parked_at = event.parked_at or parked_at
    # A charge keeps its outcome, because the database lets it change only when the row is processed.
    if event.outcome is None and outcome is not None:
        event.outcome = outcome
    event.due_at = event.claimed_until = None
    event.error = reason


def take_up(event: StripeEvent, now: datetime) -> None:
    """Retry an audit row from its first attempt: due at once, at the same status."""
    event.attempts = 0
    event.due_at = now


def postpone(event: StripeEvent, until: datetime) -> None:
    """Postpone an audit row to a later date and release its claim; its status and attempts stay."""
    event.due_at = until
    event.claimed_until = None


def finish_news(event: StripeEvent) -> None:
    """Finish the news of a settled audit row: it stays processed, without work and without an error."""
    event.due_at = event.claimed_until = event.error = None
    event.attempts = 0


def replace(refund: StripeEvent, reason: str) -> None:
    """Mark a refund row as replaced, at status 2.

    It waits for nobody, because its provider will never make it. The remainder has a row of its own.
    """
    refund.status = EventStatus.FAILED
    refund.outcome = EventOutcome.REPLACED
    refund.due_at = refund.claimed_until = None
    refund.error = reason


def fail(
    event: StripeEvent,
    error: str,
    now: datetime,
    jitter: float,
    attempts_max: int = ATTEMPTS_MAX,
    *,
    parked_at: datetime | None = None,
) -> bool:
    """Note an audit row's failed attempt: the row is due again after a backoff, or parked after the last one (False).

    `jitter` from 0 to 1 lengthens the backoff by up to a half, so that rows that failed together are tried apart.
    `parked_at` is the present by Telegram's time; None: `now`.
    """
    event.attempts += 1
    if event.attempts >= attempts_max:
        set_aside(event, EventOutcome.PARKED, error, parked_at=parked_at or now)
        return False
    if event.status != EventStatus.PROCESSED:
        event.status = EventStatus.FAILED
    event.claimed_until = None
    event.error = error
    event.due_at = now + backoff(event.attempts, jitter)
    return True


async def release_claims(session: AsyncSession) -> None:
    """Release all claims on our audit rows, which an earlier process left behind when it died.

    A repeated call does no harm, because the provider knows the refund that it has made.
    """
    is_claimed = where_claimed(StripeEvent.due_at, StripeEvent.claimed_until)
    claimed = update(StripeEvent).where(is_claimed, StripeEvent.origin == ORIGIN)
    await session.execute(claimed.values(claimed_until=None))
