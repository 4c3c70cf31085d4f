"""Facts of a subscription from Telegram and its ledger, and the rows kept of it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from db.states import Renewal, SubscriptionState
from db.tables import Subscription, User
from db.users import lock_users
from payments.audit.facts import ChargeFact, Person, SubscriptionFact
from payments.renewals import RenewalReason, record_wanted_renewal
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, SIGNER, charge, order

MONTH: Final = timedelta(days=30)
PAYLOAD: Final = SIGNER.sign(order("auto"))


def paid(
    number: int,
    *,
    at: datetime | None = None,
    ends_at: datetime | None = None,
    payload: str = PAYLOAD,
    payer: Person = BUYER,
    charge_id: str | None = None,
) -> ChargeFact:
    """Return the charge of a subscription's month, counted from 1, as its update tells it; update ids are tens."""
    begins_at = at or START + MONTH * (number - 1)
    told = charge(charge_id or f"sub-{number}", "auto", payload=payload, payer=payer, at=begins_at)
    told = replace(told, subscription_expires_at=ends_at or begins_at + MONTH, update_id=10 * number)
    return replace(told, is_first_recurring=number == 1)


def in_ledger(charged: ChargeFact) -> ChargeFact:
    """Return a charge as Telegram's ledger tells it: without an end, without the first one's flag, from no update."""
    return replace(charged, subscription_expires_at=None, is_first_recurring=None, update_id=None)


def said(state: str, update_id: int, payload: str = PAYLOAD, person: Person = BUYER) -> SubscriptionFact:
    """Return what an update tells of a subscription's state."""
    return SubscriptionFact(person, payload, SubscriptionState(state), update_id)


async def tell(desk: Desk, fact: SubscriptionFact) -> None:
    """Record a change of state and settle it, as when its update comes."""
    await desk.record(fact)
    await follow(desk, fact.payload, fact.person)


async def follow(desk: Desk, payload: str = PAYLOAD, person: Person = BUYER) -> None:
    """Bring the subscriptions on a payload up to date, as the loop over subscriptions does."""
    async with desk.database.transaction() as session:
        [user] = await lock_users(session, User.telegram_id == person.telegram_id)
        await desk.settlement.subscriptions.update_from_charges(session, user, payload)


async def rows(desk: Desk, person: Person = BUYER) -> list[Subscription]:
    """Return what is kept of a person's subscriptions, by their first charges."""
    query = select(Subscription).join(User, User.id == Subscription.user_id)
    query = query.where(User.telegram_id == person.telegram_id).order_by(Subscription.first_charge_id)
    async with desk.database.reading() as session:
        return list(await session.scalars(query))


async def row(desk: Desk, person: Person = BUYER) -> Subscription:
    """Return what is kept of a person's one subscription."""
    [found] = await rows(desk, person)
    return found


async def give_up(desk: Desk, renewal: Renewal = Renewal.CANCELED, person: Person = BUYER) -> Subscription:
    """Leave a person's one subscription as it is when Telegram has refused what was wanted of its renewal."""
    async with desk.database.transaction() as session:
        query = select(Subscription).join(User, User.id == Subscription.user_id)
        kept = (await session.scalars(query.where(User.telegram_id == person.telegram_id))).one()
        record_wanted_renewal(kept, renewal, RenewalReason.BUYER, desk.clock())
        kept.due_at, kept.error = None, "CHARGE_ID_INVALID"
    return kept
