"""Compensates buyers for the time that a late settlement took from them: pure functions of dates."""

from datetime import datetime, timedelta
from typing import Final

from payments.sale.payload import Order

LATE_HOURS: Final = 1
"""A settlement that is late by no more costs the buyer nothing."""
DELAY_DAYS_MAX: Final = 7
"""A charge that reaches the desk later than that is old news: the buyer gets no time back."""


def compensate(
    order: Order, paid: tuple[datetime, datetime | None], parked_at: datetime | None, now: datetime
) -> tuple[int, datetime]:
    """Return the days that a buyer gets back for lateness (`delay_days`), and the moment from which they count.

    `paid` is the beginning of the time paid for, and the end of a subscription's period. A subscription loses at most
    its whole period, and its days count from `now` on, because the next charge gives back those of the next period.
    """
    paid_at, ends_at = paid
    days = delay_days(order, paid_at, parked_at, now)
    if ends_at is None:
        return days, paid_at
    period = max(ends_at - paid_at, timedelta())
    return min(days, -(-period // timedelta(days=1))), max(paid_at, now)


def delay_days(order: Order, paid_at: datetime, parked_at: datetime | None, now: datetime) -> int:
    """Return the days that a late settlement took from the buyer; a begun day counts whole.

    Within LATE_HOURS it took none. The time since the desk first parked a charge counts whole, whatever its age. The
    time before that counts within DELAY_DAYS_MAX, and only for a plan of some days, because Telegram sets the end of a
    subscription. `now` and `parked_at` (None: never) are Telegram's time as far as the desk knows it, so that a wrong
    clock of its own gives nothing away. A lifetime purchase loses nothing.
    """
    if order.days is None and not order.subscription:
        return 0
    late = max(now - paid_at, timedelta())
    before = late if parked_at is None else min(max(parked_at - paid_at, timedelta()), late)
    lost = late - before
    if order.days is not None and before <= timedelta(days=DELAY_DAYS_MAX):
        lost += before
    return -(-lost // timedelta(days=1)) if lost > timedelta(hours=LATE_HOURS) else 0


def delay_source(charge_id: str) -> str:
    """Return the source of the grants that give back the time lost by a charge's late settlement."""
    return f"delay:{charge_id}"
