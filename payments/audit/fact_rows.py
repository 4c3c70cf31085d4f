"""Facts about money as audit rows of `stripe_events`: the one way in, for updates, the ledger and Stripe.

Functions take the caller's session and never commit. Every function that changes rows locks their users first, sorted
by id.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import InsertConstant
from db.states import ORIGIN, EventStatus
from db.tables import StripeEvent, User, new_id
from db.users import lock_selected_users, select_users_to_lock
from payments.audit import events, subscription_changes
from payments.audit.balance import contradiction
from payments.audit.facts import (
    REFUND_PREFIX,
    ChargeFact,
    Fact,
    MoneyFact,
    Person,
    RefundFact,
    SubscriptionFact,
    refund_id,
)
from payments.errors import AnotherServicesRowError, ContradictionError, UnrecordableError

_FIXED_COLUMNS: Final = ("event_type", "refund_of", "payment_method", "amount_cents", "currency", "customer_id")
_FILLED_IN_COLUMNS: Final = (
    "webhook_timestamp",
    "payload",
    "is_recurring",
    "is_first_recurring",
    "subscription_expires_at",
    "update_id",
)

_PEOPLE_TO_LOCK: Final = select_users_to_lock(User.telegram_id.in_(bindparam("telegram_ids", expanding=True)))
_NEW_PEOPLE: Final = InsertConstant(
    User,
    lambda insert: insert.on_conflict_do_nothing(index_elements=["telegram_id"]).returning(User),
    returns_objects=True,
)
_NEW_EVENTS: Final = InsertConstant(
    StripeEvent,
    lambda insert: insert.on_conflict_do_nothing(index_elements=["event_id"]).returning(
        StripeEvent.__table__.c.event_id
    ),
)


async def lock_people(session: AsyncSession, people: Iterable[Person], now: datetime) -> dict[int, User]:
    """Lock the users of these people, insert the new ones, and return all by Telegram id.

    A changed name or language replaces the old one, unless the user is erased (payments/audit/erasure.py).
    """
    by_id = {person.telegram_id: person for person in people}
    users = await _lock_known_people(session, by_id)
    missing = [by_id[telegram_id] for telegram_id in sorted(by_id.keys() - users.keys())]
    if missing:
        rows = [
            {
                "id": new_id(),
                "telegram_id": person.telegram_id,
                "username": person.username,
                "language_code": person.language_code,
                "created_at": now,
            }
            for person in missing
        ]
        # A new row is its inserter's alone until the commit, so it needs no lock.
        users |= _by_telegram_id((await session.scalars(_NEW_PEOPLE.on(session), rows)).all())
        if inserted_meanwhile := by_id.keys() - users.keys():
            users |= await _lock_known_people(session, inserted_meanwhile)
    for telegram_id, person in by_id.items():
        user = users[telegram_id]
        if user.erased_at is not None:
            continue
        user.username = person.username or user.username
        user.language_code = person.language_code or user.language_code
    return users


async def _lock_known_people(session: AsyncSession, telegram_ids: Iterable[int]) -> dict[int, User]:
    """Lock the users on record with these Telegram ids, and return them by Telegram id."""
    return _by_telegram_id(await lock_selected_users(session, _PEOPLE_TO_LOCK, {"telegram_ids": list(telegram_ids)}))


def _by_telegram_id(users: Iterable[User]) -> dict[int, User]:
    return {user.telegram_id: user for user in users if user.telegram_id is not None}


async def record(
    session: AsyncSession, facts: Sequence[Fact], now: datetime, *, falls_due: bool = True
) -> dict[int, str]:
    """Record facts about money as audit rows at status 0; return the users' ids by Telegram id.

    1. Lock the users of all facts, and insert the new ones.
    2. Record subscription changes in their own table.
    3. Insert a row for each new charge or refund; fill in unknown columns of known rows.
    4. Give a refund a row apart (facts.RefundFact.apart) if it agrees with its charge, and another row has its
       `event_id`: another service's, another charge's, or a refund's that contradicts the charge.

    `now` is the time of recording. `falls_due` makes the rows due at once; other rows wait for the whole pass over the
    ledger that writes them.
    Raises AnotherServicesRowError when another service has one of the ids, and ContradictionError when an event is
    on record with another amount, currency or user, or as something else.
    """
    users = await lock_people(session, (fact.person for fact in facts), now)
    told = [(fact, users[fact.person.telegram_id].id) for fact in facts if isinstance(fact, SubscriptionFact)]
    if told:
        await subscription_changes.record(session, told, now)
    due_at = now if falls_due else None
    told_of_money = [fact for fact in facts if not isinstance(fact, SubscriptionFact)]
    rows = [_row_values(fact, users[fact.person.telegram_id].id, now, due_at) for fact in told_of_money]
    barred = await _record_rows(session, rows, now) if rows else {}
    if barred:
        apart = []
        for fact, row in zip(told_of_money, rows, strict=True):
            if (error := barred.get(row["id"])) is not None:
                if not isinstance(fact, RefundFact) or not await _may_stand_apart(session, row):
                    raise error
                own = fact.apart
                apart.append(_row_values(own, row["customer_id"], now, due_at) | {"id": own.part})
        for error in (await _record_rows(session, apart, now)).values():
            raise error
    return {telegram_id: user.id for telegram_id, user in users.items()}


async def _record_rows(
    session: AsyncSession, rows: Sequence[dict[str, Any]], now: datetime
) -> dict[str, UnrecordableError]:
    """Insert new audit rows and fill in those on record; return the errors of rows that conflict, by row id."""
    barred: dict[str, UnrecordableError] = {}
    wanted = {row["event_id"]: row for row in reversed(rows)}
    in_order = sorted(wanted.values(), key=lambda row: (row["customer_id"], row["event_id"]))
    recorded = set(await session.scalars(_NEW_EVENTS.on(session), in_order))
    again = [row for row in rows if row["event_id"] not in recorded or row is not wanted[row["event_id"]]]
    if again:
        query = select(StripeEvent).where(StripeEvent.event_id.in_({row["event_id"] for row in again}))
        known = {event.event_id: event for event in await session.scalars(query)}
        for row in again:
            error = _find_conflict(known[row["event_id"]], row)
            if error is None:
                _fill_in_row(known[row["event_id"]], row, now)
            else:
                barred[row["id"]] = error
    return barred


async def _may_stand_apart(session: AsyncSession, row: Mapping[str, Any]) -> bool:
    """Tell whether a refund gets a row apart: it agrees with its charge, and the audit row under its key does not."""
    charge = await events.find_charge(session, row["refund_of"])
    if charge is None or contradiction(StripeEvent(**row), charge) is not None:
        return False
    holder = await events.find(session, row["event_id"])
    return holder is not None and is_in_the_way(holder, charge)


def is_in_the_way(holder: StripeEvent, charge: StripeEvent) -> bool:
    """Tell whether an audit row is another event with the key of a charge's refund.

    The refund then gets a row apart, because two rows cannot share a key.
    """
    if holder.origin != ORIGIN or holder.refund_of != charge.event_id:
        return True
    return contradiction(holder, charge) is not None


def _row_values(fact: MoneyFact, user_id: str, now: datetime, due_at: datetime | None) -> dict[str, Any]:
    """Return the column values of a fact's new audit row."""
    row = {
        "id": new_id(),
        "event_id": fact.event_id,
        "event_type": fact.event_type,
        "payment_method": fact.method.name,
        "customer_id": user_id,
        "amount_cents": fact.amount,
        "currency": fact.currency,
        "status": EventStatus.PENDING,
        "created_at": now,
        "origin": ORIGIN,
        "refund_of": None,
        "reason": None,
        "requested_by": None,
        "due_at": due_at,
        "webhook_timestamp": fact.happened_at,
        "payload": None,
        "is_recurring": None,
        "is_first_recurring": None,
        "subscription_expires_at": None,
        "update_id": None,
    }
    if isinstance(fact, ChargeFact):
        return row | {
            "payload": fact.payload,
            "is_recurring": fact.is_recurring,
            "is_first_recurring": fact.is_first_recurring,
            "subscription_expires_at": fact.subscription_expires_at,
            "update_id": fact.update_id,
        }
    return row | {
        "refund_of": fact.charge_id,
        "reason": fact.reason,
        "requested_by": fact.method.outside,
    }


def _find_conflict(event: StripeEvent, row: Mapping[str, Any]) -> UnrecordableError | None:
    """Return the error of an event that conflicts with the audit row under its key; None: they agree."""
    if event.origin != ORIGIN:
        return AnotherServicesRowError(
            f"{event.event_id} is a row of another service ({event.payment_method}): on the server, starledger grant"
            " opens what was paid for, and starledger revoke ends what was given back"
        )
    said = [column for column in _FIXED_COLUMNS if getattr(event, column) != row[column]]
    if said:
        return ContradictionError(f"{event.event_id} is on record with another {', '.join(said)}")
    return None


def _fill_in_row(event: StripeEvent, row: Mapping[str, Any], now: datetime) -> None:
    """Fill in unknown columns of an audit row, and make it due again if that can change its settlement."""
    learned = False
    for column in _FILLED_IN_COLUMNS:
        if row[column] is not None and getattr(event, column) is None:
            setattr(event, column, row[column])
            learned = True
    # Of all settled rows, news can change a subscription's charge alone: its end, and its subscription.
    if learned and (event.status != EventStatus.PROCESSED or event.is_recurring):
        event.due_at = now


async def find_fact_row(session: AsyncSession, fact: MoneyFact) -> StripeEvent | None:
    """Read the audit row of a fact, under its own key or apart, without a lock; None: the table lacks it."""
    ids = {fact.event_id} | ({fact.apart.event_id} if isinstance(fact, RefundFact) else set())
    query = (
        select(StripeEvent)
        .join(User, User.id == StripeEvent.customer_id)
        .where(StripeEvent.event_id.in_(ids), StripeEvent.event_type == fact.event_type, StripeEvent.origin == ORIGIN)
        .where(StripeEvent.amount_cents == fact.amount, StripeEvent.currency == fact.currency)
        .where(User.telegram_id == fact.person.telegram_id)
    )
    return await session.scalar(query.limit(1))


async def find_refunds_apart(session: AsyncSession, event_id: str) -> Sequence[str]:
    """List the event ids of a charge's refunds in rows apart, if another event's row has the refund key `event_id`."""
    charge_id = event_id.removeprefix(REFUND_PREFIX)
    if charge_id == event_id:
        return []
    query = select(StripeEvent).where(StripeEvent.event_id.in_([charge_id, event_id]))
    found = {row.event_id: row for row in await session.scalars(query)}
    charge, holder = found.get(charge_id), found.get(event_id)
    if charge is None or holder is None or charge.refund_of is not None or not is_in_the_way(holder, charge):
        return []
    rows = await events.refunds_of(session, charge_id)
    apart = [row for row in rows if row.event_id == refund_id(charge_id, row.id)]
    return [row.event_id for row in apart if contradiction(row, charge) is None]
