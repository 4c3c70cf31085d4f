"""Every order of up to five of six events, on the pure core: judgement and fold."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Final

import pytest

from entitlements import fold
from payments.sale.eligibility import Payer
from payments.sale.payload import PayloadVerdict, ReadPayload
from payments.settlement.judgement import Granted, Payment, judge
from tests.support.clock import START
from tests.support.money import BUYER, CATALOG, order, plan

STEPS: Final = ("pay", "pay again", "refund", "expire", "redeliver", "restart")
LENGTH_MAX: Final = 5
DAYS: Final = 30


@dataclass
class _Book:
    """The record of one buyer on a day: one grant for each charge, by the charge's number."""

    day: int = 0
    grants: dict[int, fold.Grant] = field(default_factory=dict)

    def take(self, number: int, paid_on: int) -> None:
        """Take a charge that Telegram tells of, once or again."""
        signed = order("month")
        payment = Payment(plan("month").price_stars, "XTR")
        granted = judge(
            payment, Payer(BUYER.telegram_id), ReadPayload(PayloadVerdict.VALID, signed), CATALOG, is_offered=True
        )
        assert isinstance(granted, Granted)
        grant = fold.Grant(granted_at=_moment(paid_on), duration_days=granted.order.days, ends_at=None, revoked_at=None)
        self.grants.setdefault(number, grant)

    def refund(self, number: int) -> None:
        """Take the refund of a charge, once or again."""
        grant = self.grants[number]
        self.grants[number] = replace(grant, revoked_at=grant.revoked_at or _moment(self.day))


def _moment(day: int) -> datetime:
    return START + timedelta(days=day)


def _orders() -> Iterator[tuple[str, ...]]:
    for length in range(1, LENGTH_MAX + 1):
        yield from product(STEPS, repeat=length)


def _played(steps: tuple[str, ...]) -> tuple[_Book, dict[int, int], set[int]]:
    """Play the steps; return the book, and as they happened the days of the charges and which were refunded."""
    book = _Book()
    paid_on: dict[int, int] = {}
    refunded: set[int] = set()
    for step in steps:
        match step:
            case "pay" | "pay again":
                # The second of two at once, or a day later.
                book.day += step == "pay"
                number = len(paid_on)
                paid_on[number] = book.day
                book.take(number, book.day)
            case "refund" if open_ones := sorted(paid_on.keys() - refunded):
                refunded.add(open_ones[-1])
                book.refund(open_ones[-1])
            case "expire":
                book.day += DAYS + 1
            case "redeliver":
                for number, day in reversed(paid_on.items()):
                    book.take(number, day)
                    if number in refunded:
                        book.refund(number)
            case "restart":
                # Rows come back in any order.
                book = _Book(book.day, dict(reversed(book.grants.items())))
    return book, paid_on, refunded


def _open_days(paid_on: dict[int, int], refunded: set[int], day_max: int) -> list[bool]:
    """Count day by day, as one would on paper: what is paid adds thirty days, each day that is open uses one up."""
    left = 0
    days = []
    for day in range(day_max + 1):
        left += DAYS * sum(paid == day and number not in refunded for number, paid in paid_on.items())
        days.append(left > 0)
        left -= left > 0
    return days


@pytest.mark.criterion("C3", "R4", "I2", "I4")
def test_every_order_opens_the_days_that_are_paid_for_and_no_other() -> None:
    count = 0
    for steps in _orders():
        book, paid_on, refunded = _played(steps)
        grants = list(book.grants.values())
        held = [fold.holds(grants, _moment(day)) for day in range(book.day + 1)]
        assert held == _open_days(paid_on, refunded, book.day), steps
        if grants:
            standing = fold.fold_grants(grants)
            assert (standing.revoked_at is not None) == (refunded == paid_on.keys()), steps
            assert standing == fold.fold_grants(grants[::-1]), steps
            now = _moment(book.day)
            assert held[-1] == (standing.expires_at is None or now < standing.expires_at), steps
        count += 1
    assert count == sum(len(STEPS) ** length for length in range(1, LENGTH_MAX + 1))
