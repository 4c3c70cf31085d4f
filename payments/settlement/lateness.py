"""How much of what was paid for a buyer could not use, because the desk was late: a pure rule."""

from datetime import datetime, timedelta
from typing import Final

from payments.sale.payload import Order

LATE_HOURS: Final = 1
"""Up to then nothing is given back."""
DELAY_DAYS_MAX: Final = 7
"""A charge that comes to the desk later than that is old news: its time is gone."""


def compensate(
    order: Order, paid: tuple[datetime, datetime | None], parked_at: datetime | None, now: datetime
) -> tuple[int, datetime]:
    """Return the days that are given back (`delay_days`), and from when on they count.

    `paid` is from when on it was paid for, and of a subscription the period's end. Of that no more than all of it was
    lost, and its days count from `now` on: those of the next period are given back with the next charge.
    """
    paid_at, ends_at = paid
    days = delay_days(order, paid_at, parked_at, now)
    if ends_at is None:
        return days, paid_at
    period = max(ends_at - paid_at, timedelta())
    return min(days, -(-period // timedelta(days=1))), max(paid_at, now)


def delay_days(order: Order, paid_at: datetime, parked_at: datetime | None, now: datetime) -> int:
    """Return the days that a late settlement took from the buyer, a begun one counted whole; 0 within the hour.

    The time since a charge was parked for the first time is given back whole, of whatever age it is. The time before
    that counts within DELAY_DAYS_MAX, and only for a plan of some days: a subscription's end is Telegram's. `now`
    and `parked_at` (None: never) are Telegram's time as far as the desk knows it, so that a wrong clock of its own
    gives nothing away. What is bought for life loses nothing.
    """
    if order.days is None and not order.subscription:
        return 0
    late = max(now - paid_at, timedelta())
    before = late if parked_at is None else min(max(parked_at - paid_at, timedelta()), late)
    lost = late - before
    if order.days is not None and before <= timedelta(days=DELAY_DAYS_MAX):
        lost += before
    return -(-lost // timedelta(days=1)) if lost > timedelta(hours=LATE_HOURS) else 0
