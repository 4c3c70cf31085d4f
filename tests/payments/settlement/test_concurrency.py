"""Payments and refunds at once, from processes with connections of their own: the database orders them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import func, select

from db.engine import POOL_SIZE, Database
from db.states import EventOutcome, EventStatus
from db.tables import EntitlementGrant, StripeEvent
from payments.audit.facts import ChargeFact, Person
from tests.support.clock import START
from tests.support.desk import Desk, counts
from tests.support.money import charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

ROUNDS: Final = 5
"""How often a race is run: whoever wins it differs from one to the next."""


@pytest.fixture
async def desks(desk: Desk, database_url: str) -> AsyncIterator[tuple[Desk, Desk]]:
    """Give the desk twice, as two processes on one database."""
    other = Database(database_url)
    yield desk, Desk(other, desk.clock)
    await other.dispose()


async def _grant_count(database: Database) -> int:
    async with database.reading() as session:
        return (await session.execute(select(func.count()).select_from(EntitlementGrant))).scalar_one()


@pytest.mark.criterion("S9")
async def test_two_charges_of_one_buyer_at_once_are_sixty_days(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for number in range(1, ROUNDS + 1):
        facts = charge(f"a{number}"), charge(f"b{number}")
        await first.record(*facts)
        await asyncio.gather(first.settle(f"a{number}"), second.settle(f"b{number}"))
        assert await first.expires_at() == START + timedelta(days=60 * number)


@pytest.mark.criterion("C3", "S9", "S10")
async def test_a_charge_that_two_processes_take_at_once_is_one_grant(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for number in range(1, ROUNDS + 1):
        fact = charge(str(number))
        both = await asyncio.gather(first.take(fact), second.take(fact))
        assert [event.outcome for event in both] == [EventOutcome.GRANTED] * 2
        assert await _grant_count(first.database) == number
        assert await first.expires_at() == START + timedelta(days=30 * number)
        assert len(await first.told(fact.event_id)) == 1


@pytest.mark.criterion("C6", "S9")
async def test_a_new_buyer_who_comes_twice_at_once_is_one_user(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for number in range(ROUNDS):
        person = Person(7000 + number)
        facts = charge(f"a{number}", payer=person), charge(f"b{number}", payer=person)
        await asyncio.gather(first.record(facts[0]), second.record(facts[1]))
    assert (await counts(first.database))["users"] == ROUNDS


@pytest.mark.criterion("S9", "R4")
async def test_a_charge_and_its_refund_at_once_end_as_in_any_order(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for number in range(ROUNDS):
        fact = charge(str(number))
        await asyncio.gather(first.take(fact), second.take(refund(fact)))
        ended = [await first.event(event_id) for event_id in (fact.event_id, f"refund:{fact.event_id}")]
        assert [event.outcome for event in ended] == [EventOutcome.GRANTED, EventOutcome.REFUNDED]
        assert not await first.holds()


@pytest.mark.criterion("C3", "S9", "S10")
async def test_twenty_five_payments_at_once_on_five_connections_do_not_deadlock(desk: Desk) -> None:
    assert POOL_SIZE == 5
    people = [Person(7000 + number) for number in range(5)]
    charges = [charge(f"{number:02}", payer=people[number % 5]) for number in range(25)]
    refunds = [refund(fact) for fact in charges[:5]]

    async def intake(batch: list[ChargeFact]) -> None:
        # The same updates, fetched again by a poll of its own, in another order.
        await desk.record(*batch, *refunds)

    await asyncio.gather(
        *(desk.take(fact) for fact in charges),
        *(intake(charges[::step]) for step in (-1, 3, -3)),
        *(desk.take(fact) for fact in refunds),
    )
    for person in people:
        assert await desk.expires_at(person=person) == START + timedelta(days=4 * 30)
    assert await _grant_count(desk.database) == 25


@pytest.mark.criterion("R8", "S10")
async def test_a_refund_that_two_admins_ask_for_at_once_is_asked_for_once(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for number in range(ROUNDS):
        await first.take(charge(str(number)))
        answers = await asyncio.gather(
            first.request_refund(str(number)), second.request_refund(str(number)), return_exceptions=True
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["RefundRefusedError", "StripeEvent"]
    async with first.database.reading() as session:
        refunds = select(func.count()).select_from(StripeEvent).where(StripeEvent.status == EventStatus.PENDING)
        assert (await session.execute(refunds)).scalar_one() == ROUNDS
