"""The moves of an audit row's status: processed, set aside, replaced, or failed and due again after a backoff.

0 to 1, 0 to 2, 2 to 1. The caller holds the row's lock and its user's.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, EventStatus, Outcome, StripeEvent

ATTEMPTS_MAX: Final = 10
"""After about an hour a person looks at what is no outage."""
AWAY_ATTEMPTS_MAX: Final = 48
"""While whoever is called is away, that is about a day and a half; then a person looks at it."""
ERROR_LENGTH_MAX: Final = 500
"""A database's own words may be long, and an admin's message is at most 4,096 characters (Bot API, sendMessage)."""
PAUSE_SECONDS_FIRST: Final = 5
PAUSE_SECONDS_MAX: Final = 3600


def is_open(event: StripeEvent) -> bool:
    """Tell whether something is still to be done: not settled yet, or due again after a failure or for what is new."""
    return event.status == EventStatus.PENDING or event.due_at is not None


def has_more(event: StripeEvent) -> bool:
    """Tell a settled event of which something was learned later that could not be taken in, and waits for an admin."""
    return event.status == EventStatus.PROCESSED and event.error is not None and event.due_at is None


def close(event: StripeEvent, outcome: Outcome, now: datetime) -> None:
    """End an event as processed: 0 to 1, or 2 to 1."""
    event.status = EventStatus.PROCESSED
    event.outcome = outcome
    event.processed_at = now
    event.due_at = event.claimed_until = event.error = None


def set_aside(event: StripeEvent, outcome: Outcome | None, reason: str, *, parked_at: datetime | None = None) -> None:
    """Take an event out of the work at status 2: parked or foreign, or (None) as it is, until its refund is through.

    `parked_at` is the present by Telegram's time: of an event that is parked again the first time stays. One that is
    processed stays so: what it was due for is given up.
    """
    if event.status != EventStatus.PROCESSED:
        event.status = EventStatus.FAILED
        if outcome is Outcome.PARKED:
            event.parked_at = event.parked_at or parked_at
    # What a charge was parked as stays: the database lets an outcome change only as the event is processed.
    if event.outcome is None and outcome is not None:
        event.outcome = outcome
    event.due_at = event.claimed_until = None
    event.error = reason


def replace(refund: StripeEvent, reason: str) -> None:
    """End at status 2 a refund that its provider will never make as it is: what is left has a row of its own."""
    refund.status = EventStatus.FAILED
    refund.outcome = Outcome.REPLACED
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
    """Note a failed attempt at status 2, due again after a growing pause; False: it was the last, the event is parked.

    `jitter` from 0 to 1 lengthens the pause by up to a half, so that what failed together is not tried together.
    `parked_at` is the present by Telegram's time, None: by `now`.
    """
    event.attempts += 1
    if event.attempts >= attempts_max:
        set_aside(event, Outcome.PARKED, error, parked_at=parked_at or now)
        return False
    if event.status != EventStatus.PROCESSED:
        event.status = EventStatus.FAILED
    event.claimed_until = None
    event.error = error
    event.due_at = now + backoff(event.attempts, jitter)
    return True


def backoff(attempts: int, jitter: float) -> timedelta:
    """Return how long to wait after so many failed attempts: 5 s, doubling, at most an hour, plus up to a half."""
    seconds = min(PAUSE_SECONDS_FIRST * 2 ** (attempts - 1), PAUSE_SECONDS_MAX)
    return timedelta(seconds=seconds * (1 + jitter / 2))


async def release_claims(session: AsyncSession) -> None:
    """Free what a process that died had claimed; of a call made twice for it, the provider knows that it is done."""
    claimed = update(StripeEvent).where(StripeEvent.claimed_until.is_not(None), StripeEvent.origin == ORIGIN)
    await session.execute(claimed.values(claimed_until=None))
