from sqlalchemy import update

from db.tables import EventStatus, LedgerReading
from payments.ledger import reading
from payments.ledger.reading import Gate
from payments.worker import Worker
from tests.support.desk import Desk
from tests.support.money import charge


async def _mark(desk: Desk) -> None:
    async with desk.database.transaction() as session:
        await reading.mark_unfinished(session, desk.clock())


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
        row = await reading.lock(session)
        row.row_count, row.latest, row.compared_at = 7, '["a"]', desk.clock()
    await _mark(desk)
    async with desk.database.reading() as session:
        found = await reading.find(session)
    assert found is not None
    assert (found.row_count, found.latest, found.compared_at) == (0, "[]", None)
    assert found.pass_wanted_at == desk.clock()


async def test_nothing_is_settled_before_the_pass_is_complete(desk: Desk, worker: Worker) -> None:
    await _mark(desk)
    await desk.record(charge())
    assert await worker.work_once() == 0
    event = await worker.process("charge-1")
    assert event is not None
    assert event.status == EventStatus.PENDING
    await _unmark(desk)
    assert await worker.work_once() == 1
    assert await desk.holds()
