from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from db.engine import Database
from db.states import EventOutcome, EventStatus
from db.tables import EntitlementGrant
from entitlements.fold import SLACK
from payments.audit.facts import ChargeFact, RefundFact
from payments.effects import OutwardEffects
from payments.notices import Admins, Notice
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMINS, BUYER, CATALOG, SIGNER, STRANGER, charge, order, plan, refund
from tests.support.obstacles import refusing
from tests.support.rows import add_other_services_event
from tests.support.statements import statements

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)
LOST_SIGNER = PayloadSigner("1000001:a-token-that-is-lost")
LOST_PAYLOAD = LOST_SIGNER.sign(order("auto"))


async def _grants(database: Database) -> dict[str, EntitlementGrant]:
    async with database.reading() as session:
        return {grant.source: grant for grant in await session.scalars(select(EntitlementGrant))}


@pytest.mark.criterion("C2", "C7", "C9", "I1", "I2", "I3", "O4", "O5")
async def test_a_charge_becomes_access_a_processed_event_and_a_notice(desk: Desk) -> None:
    desk.clock.advance(minutes=1)
    event = await desk.take(charge(code="bundle"))
    assert (event.status, event.outcome, event.error) == (EventStatus.PROCESSED, EventOutcome.GRANTED, None)
    assert (event.processed_at, event.due_at) == (desk.clock(), None)
    for entitlement in ("premium", "archive"):
        assert await desk.holds(entitlement)
        assert await desk.expires_at(entitlement) == START + 30 * DAY
    ((notice, chat_id, facts),) = await desk.notices()
    assert (notice, chat_id) == (Notice.GRANTED, BUYER.telegram_id)
    ends = (START + 30 * DAY).isoformat()
    assert sorted(facts.pop("access")) == [["archive", ends], ["premium", ends]]
    money = {"charge_id": "charge-1", "amount": 300, "currency": "XTR"}
    assert facts == money | {"title": "Premium and archive", "is_renewal": False}


async def test_days_of_two_charges_add_up_and_for_life_absorbs(desk: Desk) -> None:
    await desk.take(charge("1"))
    await desk.take(charge("2"))
    assert await desk.expires_at() == START + 60 * DAY
    await desk.take(charge("3", "life"))
    assert await desk.expires_at() is None


@pytest.mark.criterion("C3")
async def test_settling_again_changes_nothing(desk: Desk) -> None:
    await desk.take(charge())
    async with desk.database.reading() as session:
        before = await dump(session)
    desk.clock.advance(days=1)
    await desk.settle("charge-1")
    await desk.settle("charge-1", confirmed=True)
    async with desk.database.reading() as session:
        assert await dump(session) == before


async def test_an_unknown_event_is_none(desk: Desk) -> None:
    assert await desk.settle("charge-1") is None


@pytest.mark.criterion("C7", "S8", "R4")
@pytest.mark.parametrize(
    ("event_id", "operation", "table"),
    [
        ("charge-1", "INSERT", "entitlement_grants"),
        ("charge-1", "INSERT", "entitlements"),
        ("charge-1", "INSERT", "outbox"),
        ("charge-1", "UPDATE", "stripe_events"),
        ("refund:charge-1", "UPDATE", "entitlement_grants"),
        ("refund:charge-1", "UPDATE", "entitlements"),
        ("refund:charge-1", "INSERT", "outbox"),
        ("refund:charge-1", "UPDATE", "stripe_events"),
    ],
)
async def test_a_settlement_that_fails_anywhere_leaves_nothing(
    desk: Desk, event_id: str, operation: str, table: str
) -> None:
    is_refund = event_id != "charge-1"
    await desk.record(charge())
    if is_refund:
        await desk.settle("charge-1")
        await desk.record(refund(charge()))
    async with desk.database.reading() as session:
        before = await dump(session)
    async with refusing(desk.database, operation, table):
        with pytest.raises(IntegrityError):
            await desk.settle(event_id)
        async with desk.database.reading() as session:
            assert await dump(session) == before
    await desk.settle(event_id)
    assert await desk.holds() is not is_refund


@pytest.mark.criterion("S8")
async def test_half_a_settlement_is_seen_by_nobody(desk: Desk) -> None:
    await desk.record(charge())
    async with desk.database.reading() as session:
        before = await dump(session)
    async with desk.database.transaction() as session:
        await desk.settlement.settle(session, "charge-1")
        assert await dump(session) != before
        async with desk.database.reading() as another:
            assert await dump(another) == before
    async with desk.database.reading() as session:
        assert await dump(session) != before


@pytest.mark.parametrize(
    ("late", "delay_days"),
    [
        (timedelta(minutes=59), 0),
        (timedelta(hours=1), 0),
        (timedelta(minutes=61), 1),
        (DAY, 1),
        (DAY + timedelta(seconds=1), 2),
        (6 * DAY, 6),
        (7 * DAY, 7),
        (7 * DAY + timedelta(seconds=1), 0),
        (8 * DAY, 0),
    ],
    ids=str,
)
async def test_time_lost_before_a_late_settlement_is_given_back(desk: Desk, late: timedelta, delay_days: int) -> None:
    desk.clock.now = START + late
    await desk.take(charge())
    assert await desk.expires_at() == START + (30 + delay_days) * DAY
    grants = await _grants(desk.database)
    assert grants.keys() == {"telegram_stars:charge-1"} | ({"delay:charge-1"} if delay_days else set())
    assert grants["telegram_stars:charge-1"].duration_days == 30
    await desk.take(refund(charge()))
    assert not await desk.holds()


@pytest.mark.parametrize("code", ["life", "auto"])
async def test_no_time_is_given_back_where_none_is_counted_in_days(desk: Desk, code: str) -> None:
    desk.clock.now = START + DAY
    await desk.take(charge(code=code))
    assert (await _grants(desk.database)).keys() == {"telegram_stars:charge-1"}


@pytest.mark.parametrize(
    ("ends_at", "expected"),
    [(START + 31 * DAY, START + 31 * DAY), (None, START + 30 * DAY)],
    ids=["told", "estimated"],
)
async def test_a_subscriptions_charge_is_dated(desk: Desk, ends_at: datetime | None, expected: datetime) -> None:
    await desk.take(charge(code="auto", ends_at=ends_at))
    grant = (await _grants(desk.database))["telegram_stars:charge-1"]
    assert (grant.granted_at, grant.ends_at, grant.duration_days) == (START, expected, None)


async def test_a_retired_plan_is_still_honoured(desk: Desk) -> None:
    event = await desk.take(charge(code="old"))
    assert event.outcome == EventOutcome.GRANTED
    assert await desk.expires_at() == START + 7 * DAY


@pytest.mark.criterion("C4")
async def test_signed_days_are_granted_after_the_plan_has_changed(desk: Desk) -> None:
    changed = Catalog({"month": replace(plan("month"), price_stars=999, days=1)})
    desk = Desk(
        desk.database,
        desk.clock,
        Settlement(changed, SIGNER, desk.clock, OutwardEffects(desk.clock, ADMINS), terms=Terms()),
    )
    event = await desk.take(charge())
    assert event.outcome == EventOutcome.GRANTED
    assert await desk.expires_at() == START + 30 * DAY


def _renewal(number: int) -> ChargeFact:
    """Return a charge of a subscription whose first invoice was signed with a token that nobody has any more."""
    starts_at = START + 30 * number * DAY
    return charge(f"renewal-{number}", "auto", payload=LOST_PAYLOAD, at=starts_at, ends_at=starts_at + 30 * DAY)


async def test_a_renewal_under_a_lost_key_is_known_by_an_equal_settled_charge(desk: Desk) -> None:
    await Desk(
        desk.database,
        desk.clock,
        Settlement(CATALOG, LOST_SIGNER, desk.clock, OutwardEffects(desk.clock, Admins()), terms=Terms()),
    ).take(_renewal(0))
    desk.clock.advance(days=30)
    assert (await desk.take(_renewal(1))).outcome == EventOutcome.GRANTED
    assert await desk.expires_at() == START + 60 * DAY + SLACK
    # A person who got hold of the payload is not its subscriber.
    assert (await desk.take(replace(_renewal(2), person=STRANGER))).outcome == EventOutcome.PARKED


@pytest.mark.criterion("S1")
async def test_a_payload_under_a_lost_key_proves_nothing_by_itself(desk: Desk) -> None:
    for number in (0, 1):
        event = await desk.take(_renewal(number))
        assert (event.outcome, event.error) == (EventOutcome.PARKED, "damaged_payload")
    assert await desk.access() is None


@pytest.mark.criterion("I5")
async def test_rows_of_another_service_are_never_touched(desk: Desk) -> None:
    await desk.take(charge("makes the buyer known"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "ch_1", await desk.user_id())
        await add_other_services_event(session, "refund:ch_1", await desk.user_id())
        before = await dump(session)
    for event_id in ("ch_1", "refund:ch_1"):
        assert await desk.settle(event_id, confirmed=True) is None
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.parametrize(
    ("fact", "count"),
    [
        # The owner; lock the user; lock the event; the buyer; a refund that came first; what is held for life; the
        # grant, the user's grants, what stands; the access to tell of; the event; the notice.
        (charge(), 12),
        # The owner; lock the user; lock the event; its charge; the charge's grants; the user's grants, what stands;
        # grants that gave time back; the event; who waits to hear; the buyer; the buyer's notice; the admins'.
        (refund(charge()), 13),
    ],
    ids=["charge", "refund"],
)
async def test_settlement_takes_a_bounded_number_of_statements(
    desk: Desk, fact: ChargeFact | RefundFact, count: int
) -> None:
    if isinstance(fact, RefundFact):
        await desk.take(charge())
    await desk.record(fact)
    with statements(desk.database) as said:
        await desk.settle(fact.event_id)
    assert len(said) <= count, "\n".join(said)
