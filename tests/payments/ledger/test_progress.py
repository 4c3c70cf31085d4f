from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db.states import EventStatus, Renewal
from db.tables import LedgerReading, Subscription
from payments.ledger import progress
from payments.loop import Gate
from payments.renewals import RenewalReason, record_wanted_renewal
from payments.settlement.worker import Worker
from sandbox.client import SandboxClient
from tests.support.desk import Desk
from tests.support.money import charge

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _mark(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        await progress.mark_unfinished(session, desk.clock())


async def _unmark(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        await session.execute(update(LedgerReading).values(pass_wanted_at=None))


async def _is_open(desk: Desk, gate: Gate) -> bool:
    async with desk.database.reading() as session:
        return await gate.is_open(session)


async def test_the_gate_is_closed_from_the_mark_until_the_pass_is_complete_and_then_stays_open(desk: Desk) -> None:
    gate = Gate()
    await _mark(desk)
    assert not await _is_open(desk, gate)
    await _unmark(desk)
    assert await _is_open(desk, gate)
    await _mark(desk)
    assert await _is_open(desk, gate)


async def test_a_mark_makes_the_reading_begin_anew(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        row = await progress.lock(session)
        row.row_count, row.latest, row.compared_at = 7, '["a"]', desk.clock()
    await _mark(desk)
    async with desk.database.reading() as session:
        found = await progress.find(session)
    assert found is not None
    assert (found.row_count, found.latest, found.compared_at) == (0, "[]", None)
    assert found.pass_wanted_at == desk.clock()


async def test_restored_copy_sends_no_notice_and_edits_no_subscription(desk: Desk) -> None:
    await desk.take(charge(code="auto", ends_at=desk.clock() + timedelta(days=30)))
    async with desk.database.transaction() as session:
        row = (await session.scalars(select(Subscription))).one()
        record_wanted_renewal(row, Renewal.ALLOWED, RenewalReason.BUYER, desk.clock())
    assert await desk.due_notices() != []
    await _mark(desk)
    assert await desk.due_notices() == []
    async with desk.database.reading() as session:
        assert (await session.scalars(select(Subscription.due_at))).all() == [None]


async def test_a_cancellation_is_still_wanted_of_a_copy(desk: Desk) -> None:
    await desk.take(charge(code="auto", ends_at=desk.clock() + timedelta(days=30)))
    async with desk.database.transaction() as session:
        row = (await session.scalars(select(Subscription))).one()
        record_wanted_renewal(row, Renewal.CANCELED, RenewalReason.BUYER, desk.clock())
    await _mark(desk)
    async with desk.database.reading() as session:
        assert (await session.scalars(select(Subscription.due_at))).all() == [desk.clock()]


async def test_a_refund_that_is_asked_for_meanwhile_waits(desk: Desk, worker: Worker, telegram: SandboxClient) -> None:
    await desk.take(charge())
    await _mark(desk)
    await desk.request_refund("charge-1")
    assert await worker.work_once() == 0
    assert await telegram.calls("refundStarPayment") == []
    await _unmark(desk)
    assert await worker.work_once() == 1
    assert len(await telegram.calls("refundStarPayment")) == 1


async def test_charge_is_settled_only_after_a_complete_pass(desk: Desk, worker: Worker) -> None:
    await _mark(desk)
    await desk.record(charge())
    assert await worker.work_once() == 0
    event = await worker.process("charge-1")
    assert event is not None
    assert event.status == EventStatus.PENDING
    await _unmark(desk)
    assert await worker.work_once() == 1
    assert await desk.holds()
