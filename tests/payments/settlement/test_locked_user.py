"""Another service holds one user's row on PostgreSQL: that user waits, nobody else does, and nothing is lost."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import POOL_SIZE, Database
from db.states import CheckoutVerdict, EventOutcome, EventStatus, Renewal
from db.timings import Timings
from payments.audit.facts import Person
from payments.checkout import CheckoutDesk
from payments.loop import COOLDOWN_SECONDS
from payments.notices import Notice
from payments.pause import Pause
from payments.recording.recorder import Recorder
from payments.settlement.worker import Worker
from payments.subscriptions import listing
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import (
    ADMIN_CHAT_ID,
    ADMINS,
    BUYER,
    CATALOG,
    SIGNER,
    STRANGER,
    charge,
    charge_update,
    query,
    refund,
)
from tests.support.obstacles import locked_user
from tests.support.statements import statements
from tests.support.subscription_facts import paid, row
from tests.support.waiting import WAIT_SECONDS, until

OTHER = Person(5003, "other", "en")


@pytest.fixture
def engine_name() -> str:
    return "postgresql"


@pytest.fixture
def impatient_desk(desk: Desk, database_url: str, open_database: Callable[..., Database]) -> Desk:
    """Give the desk on a database that soon gives up on a lock."""
    return Desk(open_database(database_url, Timings(lock_wait_seconds=0.05)), desk.clock)


@pytest.mark.criterion("E2", "S9")
async def test_the_worker_does_what_is_due_for_all_others_and_for_the_locked_one_later(
    impatient_desk: Desk, worker: Worker, database_url: str
) -> None:
    desk = impatient_desk
    worker = Worker(
        desk.database, desk.settlement, worker._sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    )
    given_back = charge("given back", payer=OTHER)
    await desk.take(given_back)
    await desk.record(charge("1"), charge("2"))
    desk.clock.advance(seconds=1)
    await desk.record(charge("3", payer=STRANGER), refund(given_back))
    async with locked_user(database_url, BUYER.telegram_id):
        with logged("ERROR") as records:
            assert await worker.work_once() == 2
        assert await desk.holds(person=STRANGER)
        assert not await desk.holds(person=OTHER)
        for event_id in ("1", "2"):
            event = await desk.event(event_id)
            assert (event.status, event.attempts, event.error) == (EventStatus.PENDING, 0, None)
        assert [record["extra"]["event_id"] for record in records] == ["1", "2"]
        # Each look would cost those behind it the wait for the lock.
        assert await worker.work_once() == 0
    desk.clock.advance(seconds=COOLDOWN_SECONDS)
    assert await worker.work_once() == 2
    assert [(await desk.event(event_id)).outcome for event_id in ("1", "2")] == 2 * [EventOutcome.GRANTED]
    assert sorted(await desk.told()) == sorted(
        [
            *((Notice.GRANTED, person.telegram_id) for person in (BUYER, BUYER, STRANGER, OTHER)),
            (Notice.REFUNDED, OTHER.telegram_id),
            (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID),
        ]
    )


@pytest.mark.criterion("E2", "C1")
async def test_the_recorder_takes_all_others_and_the_locked_one_when_it_can(
    impatient_desk: Desk, database_url: str
) -> None:
    desk = impatient_desk
    await desk.take(charge("makes the buyer known"))
    facts = {
        number: charge(str(number), payer=payer)
        for number, payer in enumerate((BUYER, STRANGER, BUYER, OTHER), start=1)
    }
    updates = [charge_update(fact, number) for number, fact in facts.items()]
    recorder = Recorder(desk.database, desk.clock, ADMINS, record_seconds=WAIT_SECONDS)
    others = {2: facts[2], 4: facts[4]}
    async with locked_user(database_url, BUYER.telegram_id):
        with logged("ERROR") as records:
            assert await recorder.record(updates) == others
        (said_once,) = [record["message"] for record in records]
        assert "somebody holds a lock" in said_once
        assert (await desk.event("2")).status == (await desk.event("4")).status == EventStatus.PENDING
        with statements(desk.database) as said:
            assert await recorder.record(updates) == others
        assert not any("INSERT" in each for each in said)
        with statements(desk.database) as said:
            assert await recorder.record(updates[:1]) == {}
        assert sum("FOR NO KEY UPDATE" in each for each in said) == 1
    assert await recorder.record(updates) == facts
    assert await desk.told("quarantine") == []
    for event_id in ("1", "3"):
        assert (await desk.event(event_id)).status == EventStatus.PENDING


@pytest.mark.criterion("L2", "I9")
async def test_buyers_do_not_wait_for_connections_that_wait_for_a_locked_user(
    desk: Desk,
    worker: Worker,
    database_url: str,
    open_database: Callable[..., Database],
) -> None:
    # So that they wait for as long as the lock is held, whatever the machine does meanwhile.
    timings = Timings(lock_wait_seconds=3 * WAIT_SECONDS, statement_seconds=3 * WAIT_SECONDS)
    database = open_database(database_url, timings)
    worker = Worker(
        database, desk.settlement, worker._sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    )
    charged = [charge(str(number)) for number in range(POOL_SIZE)]
    await desk.record(*charged)
    new = charge("new", payer=STRANGER)

    async def all_wait() -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with desk.database.reading() as session:
            return bool((await session.execute(text(waiting))).scalar_one() == POOL_SIZE)

    async with locked_user(database_url, BUYER.telegram_id):
        working = [asyncio.create_task(worker.process(each.event_id)) for each in charged]
        await until(all_wait)
        checkouts = CheckoutDesk(database, CATALOG, SIGNER, desk.clock, WAIT_SECONDS, sells_by_card=False)
        assert await checkouts.decide(query(buyer=STRANGER)) is CheckoutVerdict.ACCEPTED
        recorder = Recorder(database, desk.clock, ADMINS, WAIT_SECONDS)
        assert await recorder.record([charge_update(new, 1)]) == {1: new}
    settled = await asyncio.gather(*working)
    assert [event and event.outcome for event in settled] == POOL_SIZE * [EventOutcome.GRANTED]


@pytest.mark.criterion("N3", "S9")
async def test_a_button_of_a_subscription_waits_for_its_users_lock(impatient_desk: Desk, database_url: str) -> None:
    desk = impatient_desk
    await desk.take(paid(1))
    kept = await row(desk)

    async def press() -> bool:
        async with desk.database.transaction() as session:
            asked = await listing.record_wish(session, kept.id, BUYER.telegram_id, Renewal.CANCELED, desk.clock())
        return asked is not None

    async with locked_user(database_url, BUYER.telegram_id):
        with pytest.raises(DBAPIError, match="lock timeout"):
            await press()
    assert await press()
