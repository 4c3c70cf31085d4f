"""What the charges of a subscription make of its row and of access, whatever comes first, on both engines."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any, Final

import pytest
from sqlalchemy import select

from db.tables import EntitlementGrant, Outcome, Renewal, Subscription, SubscriptionState
from entitlements.fold import SLACK
from payments.incoming import ChargeFact, Person, SubscriptionFact
from payments.notices import Notice
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, SIGNER, charge, order, refund

MONTH: Final = timedelta(days=30)
PAYLOAD: Final = SIGNER.sign(order("auto"))


def paid(number: int, *, at: datetime | None = None, payload: str = PAYLOAD, payer: Person = BUYER) -> ChargeFact:
    """Return the charge of a subscription's month, counted from 1, as its update tells it."""
    begins_at = START + MONTH * (number - 1)
    told = charge(f"sub-{number}", "auto", payload=payload, payer=payer, at=at or begins_at)
    told = replace(told, subscription_expires_at=(at or begins_at) + MONTH, update_id=10 * number)
    return replace(told, is_first_recurring=number == 1)


def in_ledger(charged: ChargeFact) -> ChargeFact:
    """Return a charge as Telegram's ledger tells it: without an end, flags, and an update."""
    known = replace(charged, subscription_expires_at=None, is_recurring=None, is_first_recurring=None)
    return replace(known, update_id=None)


def told(state: str, update_id: int, payload: str = PAYLOAD, person: Person = BUYER) -> SubscriptionFact:
    return SubscriptionFact(person, payload, SubscriptionState(state), update_id)


async def rows(desk: Desk) -> list[Subscription]:
    async with desk.database.reading() as session:
        return list(await session.scalars(select(Subscription).order_by(Subscription.first_charge_id)))


async def row(desk: Desk) -> Subscription:
    [found] = await rows(desk)
    return found


@pytest.mark.criterion("N3", "I2")
async def test_each_charge_is_a_dated_grant_and_the_first_one_names_the_subscription(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.clock.now = START + MONTH * (number - 1)
        event = await desk.take(paid(number))
        assert event.outcome == Outcome.GRANTED
        assert await desk.expires_at() == START + MONTH * number + SLACK
    found = await row(desk)
    assert (found.first_charge_id, found.last_charge_id) == ("sub-1", "sub-3")
    assert (found.plan, found.payload, found.price_stars) == ("auto", PAYLOAD, 150)
    assert (found.state, found.current_period_end, found.paid_until) == ("active", START + 3 * MONTH, START + 3 * MONTH)
    assert [notice for notice, _ in await desk.told()] == [Notice.GRANTED] * 3
    assert [facts["is_renewal"] for _, _, facts in await desk.notices()] == [False, True, True]


async def _state(desk: Desk, person: Person) -> dict[str, Any]:
    user_id = await desk.user_id(person)
    async with desk.database.reading() as session:
        grants = await session.scalars(select(EntitlementGrant).where(EntitlementGrant.user_id == user_id))
        found = await session.scalars(select(Subscription).where(Subscription.user_id == user_id))
        return {
            "grants": sorted(
                (each.source.rpartition("-")[2], each.granted_at, each.ends_at, each.revoked_at is not None)
                for each in grants
            ),
            "rows": [
                (
                    *(each.first_charge_id.rpartition("-")[2], each.last_charge_id.rpartition("-")[2], each.state),
                    *(each.current_period_end, each.paid_until, each.renewal_wanted),
                )
                for each in found
            ],
        }


@pytest.mark.criterion("N3", "C3")
@pytest.mark.parametrize("known", ["update", "ledger", "ledger, then update"])
async def test_any_order_of_three_charges_and_a_refund_ends_in_the_same_state(desk: Desk, known: str) -> None:
    reached = []
    for number, steps in enumerate(permutations("123R")):
        person = Person(20_000 + number)
        payload = SIGNER.sign(order("auto", person))
        charges = {
            str(each): replace(paid(each, payload=payload, payer=person), charge_id=f"{number}-{each}")
            for each in (1, 2, 3)
        }
        desk.clock.now = START + 2.5 * MONTH
        for step in steps:
            if step == "R":
                await desk.take(refund(charges["2"], START + 2 * MONTH))
                continue
            if known != "update":
                await desk.take(in_ledger(charges[step]))
            if known != "ledger":
                await desk.take(charges[step])
        reached.append(await _state(desk, person))
    assert reached == [reached[0]] * len(reached)
    assert [each[2] for each in reached[0]["grants"]] == [START + MONTH * number for number in (1, 2, 3)]
    assert [each[3] for each in reached[0]["grants"]] == [False, True, False]
    assert reached[0]["rows"] == [("1", "3", "active", START + 3 * MONTH, START + 3 * MONTH, Renewal.CANCELED)]
