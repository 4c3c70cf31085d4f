"""Rows of the audit table, one of each kind that a report judges, and their sums by a plain loop."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

from hypothesis import strategies as st
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN
from db.tables import StripeEvent, Subscription, new_id
from payments.reports.figures import Figures, Source
from tests.support.rows import add_user

DAYS: Final = 70
USERS: Final = 3
_LATER: Final = timedelta(days=9)

_PAYLOADS: Final = {
    "sl1:month:30:200:XTR:5001:0:0": "month",
    "sl2:auto:sub:150:XTR:5001:0:0": "auto",
    "sl1:=1+1:sub:1:XTR:5001:0:0": "",
    "sl1:": "",
}
_FOREIGN: Final = ("", "sl:month:30", "slot:month:30", "SL1:month:30", "another program's")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row, but for who paid: `refund_of` counts the charges of its example, `at` is from the example's first day."""

    is_ours: bool
    event_type: str
    at: timedelta
    dated_by: str
    user: int
    amount: int
    currency: str
    payload: str | None
    is_recurring: bool | None
    is_first: bool | None
    begins: bool
    status: int
    outcome: str | None
    refund_of: int | None


_OUTCOMES: Final = (
    (0, None),
    (1, "granted"),
    (1, "refunded"),
    (2, None),
    (2, "foreign"),
    (2, "parked"),
    (2, "replaced"),
)
_FLAGS: Final = (True, False, None)
_THEIR_TYPES: Final = (
    "charge.succeeded",
    "charge.refunded",
    "charge.failed",
    "shop.refund_failed",
    "shop.dispute_lost",
)


def _refund(ending: str, outcome: tuple[int, str | None], dated_by: str, refund_of: int) -> Drawn:
    refund = replace(_PLAIN, event_type=f"stripe.{ending}", status=outcome[0], outcome=outcome[1])
    return replace(refund, payload=None, is_recurring=None, dated_by=dated_by, refund_of=refund_of)


_PLAIN: Final = Drawn(
    is_ours=True,
    event_type="telegram_stars.successful_payment",
    at=timedelta(days=1),
    dated_by="webhook_timestamp",
    user=0,
    amount=1,
    currency="XTR",
    payload="sl1:month:30:200:XTR:5001:0:0",
    is_recurring=False,
    is_first=False,
    begins=False,
    status=0,
    outcome=None,
    refund_of=None,
)
_CHARGES: Final = [
    replace(_PLAIN, payload=payload, is_recurring=is_recurring, is_first=is_first, begins=begins)
    for payload, is_recurring, is_first, begins in product([*_PAYLOADS, *_FOREIGN], _FLAGS, _FLAGS, (True, False))
]
_SETTLED: Final = [replace(_PLAIN, status=status, outcome=outcome) for status, outcome in _OUTCOMES]
_REFUNDS: Final = [
    _refund(*each)
    for each in product(
        ("refunded", "dispute_lost", "refund_failed"),
        _OUTCOMES,
        ("webhook_timestamp", "created_at"),
        # Of a charge, of another program's, and of one that is not there.
        (0, len(_CHARGES) - 1, 10_000),
    )
]
_THEIRS: Final = [
    replace(_PLAIN, is_ours=False, event_type=event_type, status=status, amount=amount, currency=currency, payload=None)
    for event_type, status, amount, currency in product(_THEIR_TYPES, (0, 1, 2), (-1, 0, 1), ("usd", "EUR"))
]
_UNDATED: Final = [
    replace(_PLAIN, is_ours=False, event_type="x", status=1, dated_by=dated_by, payload=None)
    for dated_by in ("created_at", "processed_at", "nothing")
]


def _told_apart(rows: Iterable[Drawn]) -> list[Drawn]:
    """Give each row an amount and an hour of its own, and each third one the same user."""
    return [
        replace(row, amount=row.amount * (1000 + number**2), user=number % USERS, at=timedelta(hours=number))
        for number, row in enumerate(rows)
    ]


EVERY_ROW: Final = _told_apart([*_CHARGES, *_SETTLED, *_REFUNDS, *_THEIRS, *_UNDATED])
"""Every fact that decides how a row counts, in every combination that matters."""


@st.composite
def _drawn(draw: st.DrawFn) -> Drawn:
    """Draw one of them, on any day, by any user."""
    row = draw(st.sampled_from(EVERY_ROW))
    minutes = draw(st.integers(0, DAYS * 24 * 60 - 1))
    return replace(row, at=timedelta(minutes=minutes), user=draw(st.integers(0, USERS - 1)))


rows: Final = st.lists(_drawn(), max_size=25)


async def write(session: AsyncSession, drawn: Iterable[Drawn], first: datetime, example: int) -> list[str]:
    """Write the rows, ours by the moves that the database allows; return the users' ids."""
    users = [await add_user(session) for _ in range(USERS)]
    for number, row in enumerate(drawn):
        event_id = f"{example}-{number}"
        moments = _moments(row, first + row.at)
        outcome = {"status": row.status, "outcome": row.outcome}
        settled = outcome | ({"processed_at": first + row.at} if row.status == 1 else {})
        values: dict[str, Any] = {
            "id": new_id(),
            "event_id": event_id,
            "event_type": row.event_type,
            "payment_method": row.event_type.partition(".")[0],
            "customer_id": users[row.user],
            "amount_cents": row.amount,
            "currency": row.currency,
            "payload": row.payload,
            "is_recurring": row.is_recurring,
            "is_first_recurring": row.is_first,
            "refund_of": None if row.refund_of is None else f"{example}-{row.refund_of}",
        }
        begun = {"origin": ORIGIN} if row.is_ours else outcome
        await session.execute(insert(StripeEvent), values | moments | begun)
        if row.is_ours and row.status:
            await session.execute(update(StripeEvent).where(StripeEvent.event_id == event_id).values(settled))
        if row.begins:
            session.add(_subscription(event_id, users[row.user], first))
    return users


def _moments(row: Drawn, at: datetime) -> dict[str, datetime]:
    """Return the column that dates a row, and those that would without it: they are later."""
    columns = ["webhook_timestamp", "created_at", *([] if row.is_ours else ["processed_at"]), "nothing"]
    known = columns[columns.index(row.dated_by) : -1]
    return {column: at + number * _LATER for number, column in enumerate(known)}


def _subscription(event_id: str, user_id: str, now: datetime) -> Subscription:
    return Subscription(
        id=new_id(),
        first_charge_id=event_id,
        last_charge_id=event_id,
        user_id=user_id,
        plan="auto",
        payload="",
        price_stars=150,
        state="active",
        current_period_end=now,
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """A row that counts, as the loop sees it."""

    at: timedelta
    source: Source
    user: int
    is_charge: bool
    figures: Figures


def counted(drawn: list[Drawn]) -> Iterator[Counted]:
    """Judge each row by itself, in plain words."""
    charges = {number: row.payload for number, row in enumerate(drawn)}
    for row in drawn:
        payload = row.payload
        if payload is None and row.refund_of is not None:
            payload = charges.get(row.refund_of)
        ending = row.event_type.rpartition(".")[2]
        is_charge = row.refund_of is None and ending not in {"refunded", "dispute_lost", "refund_failed"}
        if row.is_ours:
            if row.outcome in {"foreign", "replaced"} or payload in _FOREIGN:
                continue
            if not is_charge and row.status != 1 and row.dated_by != "webhook_timestamp":
                continue
        elif row.status != 1 or row.amount <= 0 or ending == "failed" or row.dated_by == "nothing":
            continue
        channel = row.event_type.partition(".")[0]
        source = Source(row.currency.upper(), channel, _PAYLOADS.get(payload or "", ""))
        yield Counted(row.at, source, row.user, is_charge, _figures(row, ending, is_charge=is_charge))


def _figures(row: Drawn, ending: str, *, is_charge: bool) -> Figures:
    if ending == "refund_failed":
        return Figures(given_back=-row.amount, refunds=-1)
    if not is_charge:
        return Figures(given_back=row.amount, refunds=1)
    is_subscription = row.is_recurring
    if is_subscription is None:
        is_subscription = row.payload is not None and ":sub:" in row.payload
    if not is_subscription:
        return Figures(revenue=row.amount, purchases=1)
    is_first = row.begins if row.is_first is None else row.is_first
    if is_first:
        return Figures(revenue=row.amount, new_subscriptions=1)
    return Figures(revenue=row.amount, renewal_revenue=row.amount, renewals=1)


def lines_of(counts: Iterable[Counted]) -> Mapping[Source, tuple[Figures, int]]:
    """Add up by source: the figures, and how many users paid."""
    figures: defaultdict[Source, Figures] = defaultdict(Figures)
    payers: defaultdict[Source, set[int]] = defaultdict(set)
    for each in counts:
        figures[each.source] += each.figures
        payers[each.source] |= {each.user} if each.is_charge else set()
    return {source: (figures[source], len(payers[source])) for source in figures}
