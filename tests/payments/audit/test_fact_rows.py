from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import StripeEvent, User
from payments.audit import events, transitions
from payments.audit.facts import ChargeFact, MoneyFact, Person
from payments.errors import AnotherServicesRowError, ContradictionError
from tests.support.clock import START
from tests.support.desk import Desk, counts, dump
from tests.support.money import BUYER, STRANGER, charge, refund
from tests.support.rows import add_other_services_event
from tests.support.statements import statements

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MINUTE = timedelta(minutes=1)


@pytest.mark.criterion("C2", "C8", "I6", "O4")
async def test_a_charge_is_recorded_with_all_that_telegram_says(desk: Desk) -> None:
    desk.clock.advance(minutes=1)
    paid = charge("x" * 300, "auto", ends_at=START + timedelta(days=30))
    await desk.record(paid)
    event = await desk.event("x" * 300)
    assert (event.event_type, event.payment_method) == ("telegram_stars.successful_payment", "telegram_stars")
    assert (event.customer_id, event.origin, event.refund_of) == (await desk.user_id(), ORIGIN, None)
    assert (event.amount_cents, event.currency, event.payload) == (150, "XTR", paid.payload)
    assert (event.status, event.outcome, event.processed_at) == (EventStatus.PENDING, None, None)
    assert (event.webhook_timestamp, event.created_at, event.due_at) == (START, START + MINUTE, START + MINUTE)
    assert (event.is_recurring, event.is_first_recurring) == (True, False)
    assert event.subscription_expires_at == START + timedelta(days=30)


@pytest.mark.criterion("R2", "R5", "R7")
async def test_a_refund_that_nobody_asked_for_is_recorded_with_its_charge(desk: Desk) -> None:
    await desk.record(refund(charge(), START + MINUTE))
    event = await desk.event("refund:charge-1")
    assert (event.event_type, event.refund_of) == ("telegram_stars.refunded", "charge-1")
    assert (event.amount_cents, event.currency, event.webhook_timestamp) == (200, "XTR", START + MINUTE)
    assert (event.requested_by, event.reason, event.payload) == ("telegram", None, None)


@pytest.mark.criterion("C6")
async def test_a_batch_makes_the_new_users_and_finds_the_others(desk: Desk) -> None:
    await desk.record(charge("1"))
    await desk.record(charge("2"), charge("3", payer=STRANGER), refund(charge("4", payer=Person(5003))))
    async with desk.database.reading() as session:
        users = {user.telegram_id: user for user in await session.scalars(select(User))}
        owners = {event.event_id: event.customer_id for event in await session.scalars(select(StripeEvent))}
    assert sorted(str(user.username) for user in users.values()) == ["None", "buyer", "stranger"]
    assert owners == {"1": users[5001].id, "2": users[5001].id, "3": users[5002].id, "refund:4": users[5003].id}


@pytest.mark.criterion("C6")
async def test_a_user_is_renamed_but_no_name_is_lost(desk: Desk) -> None:
    for number, person in enumerate((BUYER, Person(5001, None, "fr"), Person(5001, "renamed", None))):
        await desk.record(charge(str(number), payer=person))
    async with desk.database.reading() as session:
        (user,) = (await session.scalars(select(User))).all()
    assert (user.username, user.language_code) == ("renamed", "fr")


async def test_a_batch_is_written_in_the_order_of_users_and_events(desk: Desk) -> None:
    # The order in which batches at once wait for one another's rows: with another in each they could deadlock.
    people = [Person(telegram_id) for telegram_id in range(6001, 6007)]
    facts = [charge(f"{number}-{person.telegram_id}", payer=person) for number in (2, 1) for person in people]
    await desk.record(*facts, *map(refund, facts))
    place = "rowid" if desk.database.is_sqlite else "ctid"
    async with desk.database.reading() as session:
        written = await session.execute(text(f"SELECT customer_id, event_id FROM stripe_events ORDER BY {place}"))  # noqa: S608 - a constant
        keys = [tuple(row) for row in written]
    assert keys == sorted(keys)
    assert len(keys) == 4 * len(people)


@pytest.mark.criterion("C3", "S3")
async def test_repeated_fact_changes_no_row(desk: Desk) -> None:
    facts: list[MoneyFact] = [charge(), refund(charge("other", payer=STRANGER))]
    await desk.record(*facts)
    async with desk.database.reading() as session:
        before = await dump(session)
    desk.clock.advance(minutes=1)
    await desk.record(*facts)
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.criterion("C3")
async def test_a_batch_may_hold_the_same_update_twice(desk: Desk) -> None:
    await desk.record(charge(), charge(), refund(charge()), refund(charge()))
    assert (await counts(desk.database))["stripe_events"] == 2


async def test_unknown_end_of_a_subscription_is_filled_in_and_makes_the_row_due(desk: Desk) -> None:
    await desk.record(charge("unknown-end", "auto"))
    async with desk.database.transaction() as session:
        event = await events.lock(session, "unknown-end")
        assert event is not None
        transitions.set_aside(event, EventOutcome.PARKED, "why")
    now = desk.clock.advance(minutes=1)
    await desk.record(charge("unknown-end", "auto", ends_at=START + timedelta(days=30)))
    event = await desk.event("unknown-end")
    assert (event.subscription_expires_at, event.due_at) == (START + timedelta(days=30), now)


@pytest.mark.criterion("S3", "R3")
@pytest.mark.parametrize(
    "told",
    [replace(charge(), amount=201), replace(charge(), currency="USD"), charge(payer=STRANGER)],
    ids=["amount", "currency", "payer"],
)
@pytest.mark.parametrize("is_refund", [False, True], ids=["charge", "refund"])
async def test_contradicting_fact_is_refused_and_changes_nothing(
    desk: Desk, told: ChargeFact, *, is_refund: bool
) -> None:
    await desk.record(refund(charge()) if is_refund else charge())
    await desk.record(charge("makes the stranger known", payer=STRANGER))
    async with desk.database.reading() as session:
        before = await dump(session)
    with pytest.raises(ContradictionError):
        await desk.record(refund(told) if is_refund else told)
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.criterion("I5")
@pytest.mark.parametrize("fact", [charge("stripe:ch_1"), refund(charge("ch_1"))], ids=["charge", "refund"])
async def test_another_services_row_is_refused_and_stays_as_it_is(desk: Desk, fact: MoneyFact) -> None:
    await desk.record(charge("makes the buyer known"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, fact.event_id, await desk.user_id())
        before = await dump(session)
    with pytest.raises(AnotherServicesRowError):
        await desk.record(fact)
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.parametrize(
    ("facts", "count_max"),
    [
        # The users; those who are new; these, locked; the rows; for what is known already: how it stands.
        ([charge(str(number), payer=Person(6000 + number)) for number in range(100)], 4),
        ([charge()], 4),
        ([charge(), refund(charge())], 4),
    ],
    ids=["a hundred", "one", "both kinds"],
)
async def test_recording_a_batch_takes_a_fixed_number_of_statements(
    desk: Desk, facts: list[MoneyFact], count_max: int
) -> None:
    with statements(desk.database) as said:
        await desk.record(*facts)
    assert len(said) <= count_max
    with statements(desk.database) as said:
        await desk.record(*facts)
    assert len(said) <= 3


@pytest.mark.criterion("S4")
@pytest.mark.parametrize(
    "text", ["'); DROP TABLE users; --", '"', "\\'", "%s %(id)s :id $1 ?", "${id}", "\u2028\ufdd0🙂"]
)
async def test_hostile_text_is_stored_as_data(desk: Desk, text: str) -> None:
    told = charge(text, payload=text)
    await desk.take(told)
    await desk.take(refund(told))
    event = await desk.event(text)
    assert (event.event_id, event.payload, event.outcome) == (text, text, EventOutcome.REFUNDED)
    assert (await desk.event(f"refund:{text}")).refund_of == text
