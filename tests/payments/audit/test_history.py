from datetime import datetime, timedelta

import pytest

from db.engine import Database
from db.states import EventOutcome
from db.tables import StripeEvent, new_id
from db.users import find_user
from payments.audit import events, fact_rows, transitions
from payments.audit.facts import ChargeFact, Person
from payments.audit.history import PAGE_SIZE, EntryState, read_page
from payments.refunds import requests
from tests.support.clock import START
from tests.support.rows import add_user

BUYER = Person(5001, "Buyer_One", "en")


def _charge(charge_id: str, happened_at: datetime = START, person: Person = BUYER) -> ChargeFact:
    return ChargeFact(charge_id, person, 200, "XTR", "another program's", happened_at)


async def _user_id(database: Database, telegram_id: int = BUYER.telegram_id) -> str:
    async with database.reading() as session:
        user = await find_user(session, telegram_id)
    assert user is not None
    return user.id


async def _record(database: Database, *charges: ChargeFact) -> None:
    async with database.transaction() as session:
        await fact_rows.record(session, charges, START)


async def _states(database: Database) -> list[tuple[str, EntryState]]:
    user_id = await _user_id(database)
    async with database.reading() as session:
        page = await read_page(session, user_id)
    return [(entry.event.event_id, entry.state) for entry in page.entries]


@pytest.mark.criterion("O8")
async def test_pages_hold_every_entry_once_newest_first(database: Database) -> None:
    charges = [_charge(f"charge{n}", START + timedelta(seconds=n)) for n in range(2 * PAGE_SIZE + 1)]
    stranger = _charge("stranger's", person=Person(6000))
    await _record(database, *charges[3:], stranger, *charges[:3])
    user_id = await _user_id(database)
    async with database.reading() as session:
        pages = [await read_page(session, user_id, number) for number in (1, 2, 3, 4)]
    assert [len(page.entries) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 1, 0]
    assert {page.page_count for page in pages} == {3}
    read = [entry.event.event_id for page in pages for entry in page.entries]
    assert read == [charge.charge_id for charge in reversed(charges)]


async def test_a_refund_of_the_same_second_stands_above_its_charge(database: Database) -> None:
    await _record(database, _charge("z-charge"))
    async with database.transaction() as session:
        await requests.request_refund(
            session, "z-charge", reason=None, requested_by="test", reply_chat_id=None, now=START
        )
    assert await _states(database) == [("refund:z-charge", EntryState.OPEN), ("z-charge", EntryState.OPEN)]


async def test_later_recorded_charge_of_the_same_second_stands_above(database: Database) -> None:
    for recorded_after_seconds, charge_id in enumerate(("b", "a", "c")):
        async with database.transaction() as session:
            await fact_rows.record(session, [_charge(charge_id)], START + timedelta(seconds=recorded_after_seconds))
    assert [charge_id for charge_id, _ in await _states(database)] == ["c", "a", "b"]


async def test_a_charge_is_given_back_once_its_refund_is_done(database: Database) -> None:
    await _record(database, _charge("charge"))
    async with database.transaction() as session:
        charge = await events.lock(session, "charge")
        assert charge is not None
        transitions.close(charge, EventOutcome.GRANTED, START)
        refund = await requests.record_refund_request(session, charge, reason=None, requested_by="test", now=START)
    assert await _states(database) == [("refund:charge", EntryState.OPEN), ("charge", EntryState.DONE)]
    async with database.transaction() as session:
        refund = await session.merge(refund)
        transitions.close(refund, EventOutcome.REFUNDED, START)
    assert await _states(database) == [("refund:charge", EntryState.DONE), ("charge", EntryState.GIVEN_BACK)]


@pytest.mark.parametrize(
    ("outcome", "state"), [(EventOutcome.PARKED, EntryState.WAITING), (EventOutcome.FOREIGN, EntryState.FOREIGN)]
)
async def test_set_aside_charge_has_its_state_in_the_history(
    database: Database, outcome: EventOutcome, state: EntryState
) -> None:
    await _record(database, _charge("charge"))
    async with database.transaction() as session:
        charge = await events.lock(session, "charge")
        assert charge is not None
        transitions.set_aside(charge, outcome, "why")
    assert await _states(database) == [("charge", state)]


@pytest.mark.criterion("I6")
async def test_rows_of_another_service_are_part_of_the_history(database: Database) -> None:
    await _record(database, _charge("charge"))
    user_id = await _user_id(database)
    async with database.transaction() as session:
        for event_id, event_type, status, at in (
            ("ch_1", "stripe.successful_payment", 1, START - timedelta(days=1)),
            ("ch_2", "stripe.successful_payment", 2, START - timedelta(days=2)),
            ("dp_1", "shop.dispute_lost", 1, START - timedelta(days=3)),
            ("re_1", "charge.refunded", 1, None),
        ):
            session.add(
                StripeEvent(
                    id=new_id(),
                    event_id=event_id,
                    event_type=event_type,
                    payment_method="stripe",
                    customer_id=user_id,
                    amount_cents=499,
                    currency="USD",
                    status=status,
                    created_at=at,
                )
            )
    async with database.reading() as session:
        entries = (await read_page(session, user_id)).entries
    assert [(entry.event.event_id, entry.state, entry.is_refund) for entry in entries] == [
        ("charge", EntryState.OPEN, False),
        ("ch_1", EntryState.DONE, False),
        ("ch_2", EntryState.FAILED, False),
        ("dp_1", EntryState.DONE, True),
        ("re_1", EntryState.DONE, True),
    ]


async def test_a_user_without_payments_has_no_pages(database: Database) -> None:
    async with database.transaction() as session:
        user_id = await add_user(session, 7000)
    async with database.reading() as session:
        page = await read_page(session, user_id)
    assert (page.page_count, page.entries) == (0, ())
