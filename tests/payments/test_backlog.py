import pytest

from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from payments.settlement.worker import Worker
from payments.waiting import Backlog, Queue, read_backlog
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import charge
from tests.support.obstacles import refusing
from tests.support.subscription_facts import give_up, paid

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _backlog(desk: Desk) -> Backlog:
    async with desk.database.reading() as session:
        return await read_backlog(session)


async def test_backlog_without_waiting_rows_is_zero(desk: Desk) -> None:
    nothing = Queue(0, None)
    await desk.take(charge())
    await desk.deliver()
    states = {"pending": nothing, "failed": nothing, "parked": nothing}
    assert await _backlog(desk) == Backlog(states, nothing, nothing, 0)


async def test_waiting_rows_are_counted_by_state_with_the_oldest(desk: Desk, worker: Worker) -> None:
    await desk.record(charge("failed"))
    async with refusing(desk.database, "INSERT", "entitlement_grants"):
        await worker.process("failed")
    first = desk.clock.advance(minutes=1)
    await desk.take(charge("parked", payload="sl1:month:30:200:XTR:5001:00:00"))
    await desk.take(charge("foreign", payload="another program's"))
    second = desk.clock.advance(minutes=1)
    await desk.record(charge("pending"))
    desk.clock.advance(minutes=1)
    await desk.record(charge("pending too"))
    async with desk.database.transaction() as session:
        await quarantine_update(session, {"update_id": 1, "message": {}}, "said nothing", Admins(), desk.clock())
    found = await _backlog(desk)
    assert found.events == {"pending": Queue(2, second), "failed": Queue(1, START), "parked": Queue(1, first)}
    assert found.notices == Queue(3, first), "the buyer's and the admins' of the parked one, the admins' of the foreign"
    assert found.quarantined == Queue(1, desk.clock())


@pytest.mark.criterion("N3")
async def test_a_subscription_that_could_not_be_cancelled_is_counted(desk: Desk) -> None:
    await desk.take(paid(1))
    await give_up(desk)
    assert (await _backlog(desk)).renewals == 1
