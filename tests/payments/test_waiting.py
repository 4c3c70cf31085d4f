from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from db.states import EventOutcome, EventStatus, Renewal
from db.tables import QuarantinedUpdate, StripeEvent
from payments import waiting
from payments.audit import events, transitions
from payments.audit.facts import ChargeFact
from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from payments.waiting import LISTED_MAX, RetryResult
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import STRANGER, charge, charge_update, refund
from tests.support.obstacles import refusing
from tests.support.rows import add_other_services_event
from tests.support.statements import statements
from tests.support.subscription_facts import MONTH, follow, give_up, paid, row

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _quarantine(desk: Desk, update: dict[str, Any]) -> str:
    """Put an update into quarantine, and return the id that takes it up again."""
    async with desk.database.transaction() as session:
        await quarantine_update(session, update, "why", Admins(), desk.clock())
        return "quarantine:" + (await session.scalars(select(QuarantinedUpdate.id))).one()


async def test_everything_that_is_not_at_its_end_waits_the_oldest_first(desk: Desk) -> None:
    wrong = replace(charge("parked"), amount=1)
    for fact in (
        charge("granted"),
        wrong,
        charge("foreign", payload="another program's"),
        charge("given back", payer=STRANGER, buyer=wrong.person),
        charge("refunded"),
        refund(charge("refunded")),
    ):
        await desk.take(fact)
        desk.clock.advance(seconds=1)
    await desk.record(charge("open"))
    await desk.record(charge("failed"))
    async with desk.database.transaction() as session:
        failed = await events.lock(session, "failed")
        assert failed is not None
        transitions.fail(failed, "why", desk.clock(), jitter=0)
        await add_other_services_event(session, "another's", failed.customer_id)
    bad = await _quarantine(desk, charge_update(charge("bad\0")))
    async with desk.database.reading() as session:
        pending = await waiting.list_pending(session)
    assert [event.event_id for event, _ in pending.events] == ["parked", "refund:given back", "failed", "open"]
    assert [user.telegram_id for _, user in pending.events] == [5001, 5002, 5001, 5001]
    assert [f"quarantine:{row.id}" for row in pending.quarantined] == [bad]
    assert pending.count == 5


async def test_a_retry_takes_up_every_listed_event_and_settled_ones_that_are_due_for_news(desk: Desk) -> None:
    outcomes: dict[EventStatus, list[EventOutcome | None]] = {
        EventStatus.PENDING: [None],
        EventStatus.PROCESSED: [EventOutcome.GRANTED, EventOutcome.REFUNDED, EventOutcome.RETURNED],
        EventStatus.FAILED: [None, EventOutcome.FOREIGN, EventOutcome.PARKED, EventOutcome.REPLACED],
    }
    states = {
        f"{status.name} {outcome} {due_at} {error}": (status, outcome, due_at, error)
        for status, each in outcomes.items()
        for outcome in each
        for due_at in (None, START)
        for error in (None, "why")
    }
    await desk.record(*(charge(name) for name in states))
    async with desk.database.transaction() as session:
        for name, (status, outcome, due_at, error) in states.items():
            processed_at = START if status is EventStatus.PROCESSED else None
            moved = {"status": status, "outcome": outcome, "processed_at": processed_at}
            changed = update(StripeEvent).where(StripeEvent.event_id == name)
            await session.execute(changed.values(**moved, due_at=due_at, error=error))
    async with desk.database.reading() as session:
        listed = set(await session.scalars(select(StripeEvent.event_id).where(waiting.waits())))
        taken = {row.event_id for row in await session.scalars(select(StripeEvent)) if waiting.is_retryable(row)}
    for_news = {
        name
        for name, (status, _, due_at, error) in states.items()
        if status is EventStatus.PROCESSED and due_at is not None and error is None
    }
    assert listed <= taken
    assert taken - listed == for_news
    assert len(for_news) == 3


async def test_a_list_is_bounded_and_its_count_is_not(desk: Desk) -> None:
    await desk.record(*(charge(f"{number:02}") for number in range(LISTED_MAX + 2)))
    async with desk.database.reading() as session:
        pending = await waiting.list_pending(session)
    assert len(pending.events) == LISTED_MAX
    assert pending.count == LISTED_MAX + 2


@pytest.mark.criterion("E5", "N3")
async def test_a_subscription_that_could_not_be_cancelled_waits_until_it_can_or_ends(desk: Desk) -> None:
    async def stuck() -> list[str]:
        async with desk.database.reading() as session:
            pending = await waiting.list_pending(session)
        assert pending.count == len(pending.renewals)
        return [f"renewal:{row.first_charge_id} of {user.telegram_id}" for row, user in pending.renewals]

    await desk.take(paid(1))
    await give_up(desk, Renewal.ALLOWED)
    assert await stuck() == [], "no Star is taken of what could not be taken up again"
    await give_up(desk)
    assert await stuck() == ["renewal:sub-1 of 5001"]
    assert await desk.retry("renewal:sub-1") is RetryResult.BEGUN
    assert await stuck() == []
    await give_up(desk)
    desk.clock.now = START + MONTH + timedelta(days=3)
    await follow(desk)
    assert await stuck() == [], "what has ended takes no more"


@pytest.mark.criterion("E5", "N3")
async def test_a_subscription_whose_first_charge_becomes_known_is_cancelled_by_it_and_found_by_any(desk: Desk) -> None:
    await desk.take(paid(2))
    await give_up(desk)
    now = desk.clock.advance(hours=1)
    await desk.take(paid(1))
    kept = await row(desk)
    assert (kept.first_charge_id, kept.due_at, kept.error) == ("sub-1", now, None)
    await give_up(desk)
    assert await desk.retry("renewal:sub-2") is RetryResult.BEGUN
    assert (await row(desk)).due_at == now
    await desk.take(charge())
    assert await desk.retry("renewal:charge-1") is RetryResult.UNKNOWN
    assert await desk.retry("renewal:of-none") is RetryResult.UNKNOWN


@pytest.mark.criterion("E5")
async def test_a_retry_has_all_its_attempts_before_it(desk: Desk) -> None:
    await desk.record(charge())
    async with desk.database.transaction() as session:
        event = await events.lock(session, "charge-1")
        assert event is not None
        while transitions.fail(event, "why", desk.clock(), jitter=0):
            pass
    now = desk.clock.advance(days=1)
    assert await desk.retry("charge-1") is RetryResult.BEGUN
    event = await desk.event("charge-1")
    assert (event.attempts, event.due_at, event.outcome) == (0, now, EventOutcome.PARKED)


@pytest.mark.criterion("I5")
async def test_retry_of_a_row_that_does_not_wait_changes_nothing(desk: Desk) -> None:
    await desk.take(charge("granted"))
    await desk.take(charge("foreign", payload="another program's"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "another's", await desk.user_id())
        before = await dump(session)
    for waiting_id, came in (
        ("granted", RetryResult.NOT_WAITING),
        ("foreign", RetryResult.NOT_WAITING),
        ("another's", RetryResult.UNKNOWN),
        ("nothing", RetryResult.UNKNOWN),
        ("quarantine:nothing", RetryResult.UNKNOWN),
    ):
        assert await desk.retry(waiting_id) is came
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.criterion("E3")
async def test_a_quarantined_update_is_recorded_once_it_can_be(desk: Desk) -> None:
    waiting_id = await _quarantine(desk, charge_update(charge()))
    async with refusing(desk.database, "INSERT", "stripe_events"):
        async with desk.database.reading() as session:
            before = await dump(session)
        assert await desk.retry(waiting_id) is RetryResult.STILL_UNRECORDABLE
        async with desk.database.reading() as session:
            assert await dump(session) == before
    assert [await desk.retry(waiting_id) for _ in range(2)] == [RetryResult.BEGUN, RetryResult.NOT_WAITING]
    assert await desk.settle("charge-1") is not None
    assert await desk.holds()


@pytest.mark.criterion("S9")
@pytest.mark.engines("postgresql")
async def test_the_user_is_locked_before_the_quarantined_update_as_by_whoever_erases_the_person(desk: Desk) -> None:
    await desk.take(charge())
    waiting_id = await _quarantine(desk, charge_update(charge("charge-2")))
    with statements(desk.database) as said:
        assert await desk.retry(waiting_id) is RetryResult.BEGUN
    locked = [table for each in said if " FOR " in each for table in ("users", "quarantine") if f"FROM {table}" in each]
    assert locked[:2] == ["users", "quarantine"]


@pytest.mark.criterion("S3", "E3")
@pytest.mark.parametrize(
    "told",
    [charge("unreadable\0"), replace(charge(), amount=1), charge(payer=STRANGER)],
    ids=["NUL", "amount", "payer"],
)
async def test_retry_of_an_unrecordable_update_leaves_it_in_quarantine(desk: Desk, told: ChargeFact) -> None:
    await desk.take(charge())
    waiting_id = await _quarantine(desk, charge_update(told))
    async with desk.database.reading() as session:
        before = await dump(session)
    assert await desk.retry(waiting_id) is RetryResult.STILL_UNRECORDABLE
    async with desk.database.reading() as session:
        assert await dump(session) == before
