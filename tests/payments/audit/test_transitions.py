import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.tables import EventStatus, Outcome
from payments.audit import events, transitions
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import charge

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@given(st.floats(0, 1))
def test_pauses_grow_and_are_bounded(jitter: float) -> None:
    pauses = [transitions.backoff(attempts, jitter).total_seconds() for attempts in range(1, 30)]
    assert pauses == sorted(pauses)
    assert 5 <= pauses[0] <= 7.5
    assert 3600 <= pauses[-1] <= 5400


@pytest.mark.criterion("E1", "O5")
async def test_an_event_fails_until_the_last_attempt_parks_it(desk: Desk) -> None:
    await desk.record(charge())
    for attempt in range(1, transitions.ATTEMPTS_MAX):
        async with desk.database.transaction() as session:
            event = await events.lock(session, "charge-1")
            assert event is not None
            assert transitions.fail(event, f"attempt {attempt}", desk.clock(), jitter=0)
            assert (event.status, event.outcome, event.error) == (EventStatus.FAILED, None, f"attempt {attempt}")
            assert event.due_at == START + transitions.backoff(attempt, jitter=0)
            assert transitions.is_open(event)
    async with desk.database.transaction() as session:
        event = await events.lock(session, "charge-1")
        assert event is not None
        assert not transitions.fail(event, "the last", desk.clock(), jitter=0)
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.error, event.due_at) == (2, Outcome.PARKED, "the last", None)
    assert not transitions.is_open(event)
