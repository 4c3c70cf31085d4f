import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError

from db.engine import POOL_SIZE
from db.errors import is_away
from db.states import EventOutcome, EventStatus
from payments.audit import transitions
from payments.audit.facts import Person
from payments.effects import OutwardEffects
from payments.loop import COOLDOWN_SECONDS, Cooldown
from payments.notices import Notice
from payments.pause import Pause
from payments.sale.catalog import Catalog
from payments.settlement.settlement import Settlement
from payments.settlement.worker import BATCH_MAX, Worker
from payments.subscriptions.chain import Terms
from tests.support.desk import Desk, dump
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, SIGNER, STRANGER, TOKEN, charge, plan, refund
from tests.support.obstacles import breaking_off, locked, refusing
from tests.support.statements import statements
from tests.support.waiting import until

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _is_settled(desk: Desk, event_id: str) -> bool:
    return (await desk.event(event_id)).status == EventStatus.PROCESSED


@pytest.mark.criterion("C3", "E2")
async def test_rows_left_open_by_a_crash_are_settled(desk: Desk, worker: Worker) -> None:
    await desk.record(charge("1"), charge("2"), refund(charge("2")), charge("3", payer=STRANGER))
    assert await worker.work_once() == 4
    assert await worker.work_once() == 0
    assert await desk.holds()
    assert await desk.holds(person=STRANGER)
    assert [await _is_settled(desk, event_id) for event_id in ("1", "2", "refund:2", "3")] == [True] * 4


async def test_a_round_is_bounded(desk: Desk, worker: Worker) -> None:
    await desk.record(*(charge(str(number), payer=Person(6000 + number)) for number in range(BATCH_MAX + 1)))
    assert [await worker.work_once() for _ in range(3)] == [BATCH_MAX, 1, 0]


@pytest.mark.criterion("E5", "S12", "O6")
async def test_a_failing_entitlement_service_leaves_the_event_at_2_until_it_works(desk: Desk, worker: Worker) -> None:
    await desk.record(charge("charge-1"), charge("2", payer=STRANGER))
    async with refusing(desk.database, "INSERT", "entitlement_grants"):
        with logged("ERROR") as records:
            assert await worker.work_once() == 2
        event = await desk.event("charge-1")
        assert (event.status, event.outcome, event.attempts) == (EventStatus.FAILED, None, 1)
        assert "IntegrityError" in (event.error or "")
        assert event.due_at is not None
        assert event.due_at > desk.clock()
        assert await desk.access() is None
        assert await desk.told() == []
        assert {record["extra"]["event_id"] for record in records} == {"charge-1", "2"}
        assert all(record["exception"] is not None for record in records)
        # Its time has not come.
        assert await worker.work_once() == 0
    desk.clock.advance(seconds=10)
    assert await worker.work_once() == 2
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.error) == (EventStatus.PROCESSED, EventOutcome.GRANTED, None)
    assert await desk.holds()


@pytest.mark.criterion("E5")
async def test_charge_that_keeps_failing_is_parked_and_can_be_retried(desk: Desk, worker: Worker) -> None:
    await desk.record(charge())
    async with refusing(desk.database, "INSERT", "entitlements"):
        for _ in range(transitions.ATTEMPTS_MAX):
            assert await worker.work_once() == 1
            desk.clock.advance(hours=2)
        assert await worker.work_once() == 0
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.due_at) == (EventStatus.FAILED, EventOutcome.PARKED, None)
    assert await desk.told() == [(Notice.PARKED, ADMIN_CHAT_ID), (Notice.WAITING, BUYER.telegram_id)]
    await desk.retry("charge-1")
    assert await worker.work_once() == 1
    assert (await desk.event("charge-1")).outcome == EventOutcome.GRANTED
    assert await desk.holds()


@pytest.mark.criterion("E5")
async def test_failing_charge_does_not_hold_up_the_next(desk: Desk, worker: Worker) -> None:
    absurd = Catalog({"month": plan("month"), "bundle": replace(plan("bundle"), entitlements=("premium", "No Type"))})
    settlement = Settlement(absurd, SIGNER, desk.clock, OutwardEffects(desk.clock, ADMINS), terms=Terms())
    worker = Worker(
        desk.database, settlement, worker._sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    )
    await desk.record(charge("a", "bundle"), charge("b", "month", payer=STRANGER))
    assert await worker.work_once() == 2
    event = await desk.event("a")
    assert (event.status, event.attempts) == (EventStatus.FAILED, 1)
    assert "InvalidEntitlementTypeError" in (event.error or "")
    assert await desk.access() is None
    assert await desk.holds(person=STRANGER)


@pytest.mark.criterion("E5", "O6")
async def test_a_failure_that_cannot_even_be_noted_holds_up_neither_the_others_nor_the_loop(
    desk: Desk, worker: Worker
) -> None:
    await desk.record(charge("a"), charge("b", payer=STRANGER))
    with logged("ERROR") as records:
        async with refusing(desk.database, "UPDATE", "stripe_events", when="NEW.event_id = 'a'"):
            running = asyncio.create_task(worker.loop.run())
            await until(lambda: _is_settled(desk, "b"))
        worker.loop.stop()
        await running
    (said,) = [record for record in records if "left alone" in record["message"]]
    assert said["extra"]["event_id"] == "a"
    assert said["exception"] is not None
    assert await worker.work_once() == 0
    event = await desk.event("a")
    assert (event.status, event.attempts, event.error) == (EventStatus.PENDING, 0, None)
    desk.clock.advance(seconds=COOLDOWN_SECONDS)
    worker = Worker(
        desk.database, desk.settlement, worker._sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    )
    assert await worker.work_once() == 1
    assert await desk.holds()


async def test_full_cooldown_lets_the_loop_sleep(desk: Desk, worker: Worker) -> None:
    worker._cooldown = Cooldown(desk.clock, keys_max=1)
    await desk.record(charge("a"), charge("b", payer=STRANGER), charge("c"))
    async with refusing(desk.database, "UPDATE", "stripe_events", when="NEW.event_id <> 'c'"):
        # The loop sleeps when there was nothing that it could move.
        assert [await worker.work_once() for _ in range(3)] == [1, 0, 0]
    assert await _is_settled(desk, "c")


async def test_an_idle_minute_costs_six_statements(desk: Desk, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await worker.work_once()
    slept_seconds: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_seconds.append(seconds)
        if sum(slept_seconds) >= 60:
            worker.loop.stop()

    monkeypatch.setattr(worker.loop, "_sleep", sleep)
    with statements(desk.database) as said:
        await worker.loop.run()
    assert sum(slept_seconds) == 60
    # The outbox beside it says as many, and twelve are the most that an idle desk may.
    assert len(said) == 6


async def test_a_stop_leaves_the_rest_of_a_batch_to_the_next_start(desk: Desk, worker: Worker) -> None:
    await desk.record(*(charge(str(number)) for number in range(3)))
    next_worker = Worker(
        desk.database, desk.settlement, worker._sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    )
    worker._on_progress = worker.loop.stop
    await worker.loop.run()
    assert [await _is_settled(desk, str(number)) for number in range(3)] == [True, False, False]
    assert await next_worker.work_once() == 2
    assert await desk.told() == 3 * [(Notice.GRANTED, BUYER.telegram_id)]


async def _is_away_and_the_row_as_it_was(desk: Desk, worker: Worker) -> None:
    async with desk.database.reading() as session:
        before = await dump(session)
    with pytest.raises(DBAPIError) as away:
        await worker.work_once()
    assert is_away(away.value)
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.criterion("E2", "S8", "I10")
@pytest.mark.engines("postgresql")
async def test_a_connection_that_breaks_amid_a_settlement_leaves_the_row_as_it_was(desk: Desk, worker: Worker) -> None:
    await desk.record(charge())
    async with breaking_off(desk.database, "INSERT", "entitlements"):
        # More often than the pool has connections: none is lost.
        for _ in range(POOL_SIZE + 1):
            await _is_away_and_the_row_as_it_was(desk, worker)
    assert await worker.work_once() == 1
    assert await desk.holds()


@pytest.mark.criterion("E2", "S8")
@pytest.mark.engines("sqlite")
async def test_a_locked_database_leaves_the_row_as_it_was(desk: Desk, worker: Worker, database_url: str) -> None:
    await desk.record(charge())
    async with locked(desk.database, database_url, "stripe_events"):
        await _is_away_and_the_row_as_it_was(desk, worker)
    assert await worker.work_once() == 1
    assert await desk.holds()


@pytest.mark.criterion("E2")
@pytest.mark.engines("postgresql")
async def test_the_loop_outlives_an_outage_and_tells_of_it_once(desk: Desk, worker: Worker) -> None:
    await desk.record(charge())
    with logged() as records, statements(desk.database) as said:

        async def tried_twice() -> bool:
            worker.loop.wake()
            return sum("INSERT INTO entitlements " in each for each in said) > 1

        async with breaking_off(desk.database, "INSERT", "entitlements"):
            running = asyncio.create_task(worker.loop.run())
            await until(tried_twice)
        worker.loop.wake()
        await until(lambda: _is_settled(desk, "charge-1"))
        worker.loop.stop()
        await running
    told = [record["message"] for record in records if "the database is" in record["message"]]
    assert len(told) == 2
    assert "away" in told[0]
    assert "back" in told[1]


@pytest.mark.criterion("C10", "O1", "O2", "O3", "O5")
async def test_every_settled_event_is_one_log_line_with_all_its_facts(desk: Desk, worker: Worker) -> None:
    await desk.record(charge(), refund(charge()))
    with logged() as records:
        await worker.process("charge-1")
        await worker.process("refund:charge-1")
    user_id = await desk.user_id()
    common = {
        "charge_id": "charge-1",
        "payment_method": "telegram_stars",
        "user_id": user_id,
        "amount": 200,
        "currency": "XTR",
        "status": 1,
    }
    lines = [record["extra"] for record in records if record["extra"].get("charge_id") == "charge-1"]
    assert [line["event_type"] for line in lines] == ["telegram_stars.successful_payment", "telegram_stars.refunded"]
    assert [line["outcome"] for line in lines] == ["granted", "refunded"]
    for line in lines:
        assert common.items() <= line.items()
        assert line["happened_at"] == charge().happened_at.isoformat()
    assert TOKEN not in repr(records)
