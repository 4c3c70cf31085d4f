import pytest

from db.states import EventOutcome, EventStatus
from payments.audit import events, transitions
from payments.loop import backoff
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import charge

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.mark.criterion("E1", "O5")
async def test_an_event_fails_until_the_last_attempt_parks_it(desk: Desk) -> None:
    await desk.record(charge())
    for attempt in range(1, transitions.ATTEMPTS_MAX):
        async with desk.database.transaction() as session:
            event = await events.lock(session, "charge-1")
            assert event is not None
            assert transitions.fail(event, f"attempt {attempt}", desk.clock(), jitter=0)
            assert (event.status, event.outcome, event.error) == (EventStatus.FAILED, None, f"attempt {attempt}")
            assert event.due_at == START + backoff(attempt, jitter=0)
            assert transitions.is_open(event)
    async with desk.database.transaction() as session:
        event = await events.lock(session, "charge-1")
        assert event is not None
        assert not transitions.fail(event, "the last", desk.clock(), jitter=0)
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.error, event.due_at) == (2, EventOutcome.PARKED, "the last", None)
    assert not transitions.is_open(event)
