"""The moves of an audit row's status: processed, set aside, replaced, or failed and due again after a backoff.

0 to 1, 0 to 2, 2 to 1. The work of a row that keeps its status changes here as well. The caller holds the row's lock
and its user's.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, EventOutcome, EventStatus, StripeEvent
from payments.loop import backoff

ATTEMPTS_MAX: Final = 10
"""After so many attempts, about an hour, a person looks at a failure that is no outage."""


def is_open(event: StripeEvent) -> bool:
    """Tell whether an audit row has a transition to come: not settled yet, or due again after a failure or for news."""
    return event.status == EventStatus.PENDING or event.due_at is not None


def has_more(event: StripeEvent) -> bool:
    """Tell whether a settled audit row has news that caused no transition and waits for an admin."""
    return event.status == EventStatus.PROCESSED and event.error is not None and event.due_at is None


def close(event: StripeEvent, outcome: EventOutcome, now: datetime) -> None:
    """Make the transition of an audit row to processed: status 0 to 1, or 2 to 1."""
    event.status = EventStatus.PROCESSED
    event.outcome = outcome
    event.processed_at = now
    event.due_at = event.claimed_until = event.error = None


def set_aside(
    event: StripeEvent, outcome: EventOutcome | None, reason: str, *, parked_at: datetime | None = None
) -> None:
    """Make an audit row's transition to status 2, set aside: parked or foreign, or (None) until its refund is made.

    `parked_at` is the present by Telegram's time; a row that is parked again keeps the first. A processed row stays
    processed, and only loses the work it was due for.
    """
    if event.status != EventStatus.PROCESSED:
        event.status = EventStatus.FAILED
        if outcome is EventOutcome.PARKED:
            event.parked_at = event.parked_at or parked_at
    # A charge's outcome stays, because the database lets it change only when the row is processed.
    if event.outcome is None and outcome is not None:
        event.outcome = outcome
    event.due_at = event.claimed_until = None
    event.error = reason


def take_up(event: StripeEvent, now: datetime) -> None:
    """Take up an audit row anew, without a move of its status: due at once, with all attempts before it."""
    event.attempts = 0
    event.due_at = now


def postpone(event: StripeEvent, until: datetime) -> None:
    """Postpone an audit row without a move of its status, and free it; that counts as no attempt."""
    event.due_at = until
    event.claimed_until = None


def finish_news(event: StripeEvent) -> None:
    """Finish the news of a settled audit row, which stays processed: it has no work and no error."""
    event.due_at = event.claimed_until = event.error = None
    event.attempts = 0


def replace(refund: StripeEvent, reason: str) -> None:
    """Make a refund row's transition to status 2, replaced: its provider will never make it.

    The remainder has a row of its own.
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
    """Make an audit row's transition to failed, due again after a backoff; False: it was the last attempt: parked.

    `jitter` from 0 to 1 lengthens the backoff by up to a half, so that rows that failed together are not tried
    together. `parked_at` is the present by Telegram's time; None: `now`.
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
    """Release the claims on audit rows of a process that died amid a transition.

    If a call is made twice because of it, the provider knows that it is done.
    """
    claimed = update(StripeEvent).where(StripeEvent.claimed_until.is_not(None), StripeEvent.origin == ORIGIN)
    await session.execute(claimed.values(claimed_until=None))
