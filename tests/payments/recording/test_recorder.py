import asyncio
import gc
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text

from db.tables import QuarantinedUpdate, SubscriptionChange
from payments.notices import Notice
from payments.recording.recorder import RecordedFacts, Recorder
from payments.recording.updates import read_fact
from tests.support.desk import Desk, counts, dump
from tests.support.logs import logged
from tests.support.money import (
    ADMIN_CHAT_ID,
    ADMINS,
    STRANGER,
    charge,
    charge_update,
    refund,
    refund_update,
    subscription_update,
)
from tests.support.obstacles import breaking_off, locked, refusing
from tests.support.rows import INCOMPRESSIBLE, add_other_services_event
from tests.support.statements import statements
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

CHARGE_UPDATE = charge_update(charge(), 11)
REFUND_UPDATE = refund_update(refund(charge()), 13)


def _unreadable(update_id: int, charge_id: str = "nul\0") -> dict[str, Any]:
    return charge_update(charge(charge_id, payer=STRANGER), update_id)


@pytest.fixture
def recorder(desk: Desk) -> Recorder:
    return Recorder(desk.database, desk.clock, ADMINS, record_seconds=20)


async def _quarantined(desk: Desk) -> list[QuarantinedUpdate]:
    async with desk.database.reading() as session:
        return list(await session.scalars(select(QuarantinedUpdate).order_by(QuarantinedUpdate.update_id)))


@pytest.mark.criterion("C1", "O1", "O3")
async def test_a_batch_is_on_record_when_it_returns(desk: Desk, recorder: Recorder) -> None:
    with logged() as records:
        facts = await recorder.record([CHARGE_UPDATE, REFUND_UPDATE])
    assert {number: fact and fact.event_id for number, fact in facts.items()} == {11: "charge-1", 13: "refund:charge-1"}
    assert (await counts(desk.database))["stripe_events"] == 2
    assert [record["extra"]["charge_id"] for record in records] == ["charge-1", "charge-1"]


@pytest.mark.criterion("E3", "E4")
@pytest.mark.parametrize("charge_id", ["nul\0 and lone \ud800", INCOMPRESSIBLE], ids=["text", "length in bytes"])
async def test_unreadable_update_is_kept_raw_and_the_rest_is_recorded(
    desk: Desk, recorder: Recorder, charge_id: str
) -> None:
    bad = _unreadable(12, charge_id)
    facts = await recorder.record([CHARGE_UPDATE, bad, REFUND_UPDATE])
    assert facts.pop(12) is None
    assert facts.keys() == {11, 13}
    assert (await counts(desk.database))["stripe_events"] == 2
    (kept,) = await _quarantined(desk)
    assert json.loads(kept.raw) == bad
    assert (kept.update_id, kept.created_at, kept.resolved_at) == (12, desk.clock(), None)
    assert "telegram_payment_charge_id" in kept.reason
    told = await desk.notices(f"quarantine:{kept.id}")
    assert told == [(Notice.QUARANTINED, ADMIN_CHAT_ID, {"reason": kept.reason, "retry_id": f"quarantine:{kept.id}"})]


async def test_an_update_is_quarantined_once_however_often_it_comes(desk: Desk, recorder: Recorder) -> None:
    # Ids restart after a quiet week: another update under the same id is another row.
    bad, another = _unreadable(12), _unreadable(12, "another\0")
    for update in (bad, bad, another, bad):
        assert await recorder.record([update]) == {12: None}
    assert len(await _quarantined(desk)) == 2
    assert len(await desk.told()) == 2


@pytest.mark.criterion("I5", "E3")
async def test_another_services_row_sends_one_update_to_quarantine(desk: Desk, recorder: Recorder) -> None:
    await recorder.record([CHARGE_UPDATE])
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "taken", await desk.user_id())
    taken = charge_update(charge("taken"), 14)
    facts = await recorder.record([taken, charge_update(charge("free"), 15)])
    assert facts.pop(14) is None
    assert facts.keys() == {15}
    (kept,) = await _quarantined(desk)
    assert (kept.update_id, "another service" in kept.reason) == (14, True)


@pytest.mark.criterion("S3")
async def test_an_update_that_contradicts_its_row_goes_to_quarantine(desk: Desk, recorder: Recorder) -> None:
    await recorder.record([CHARGE_UPDATE])
    assert await recorder.record([charge_update(replace(charge(), amount=1), 14)]) == {14: None}
    (kept,) = await _quarantined(desk)
    assert "amount_cents" in kept.reason
    assert (await desk.event("charge-1")).amount_cents == 200


@pytest.mark.criterion("E3")
async def test_update_refused_by_the_database_goes_to_quarantine(desk: Desk, recorder: Recorder) -> None:
    async with refusing(desk.database, "INSERT", "stripe_events"):
        assert await recorder.record([CHARGE_UPDATE, REFUND_UPDATE]) == {11: None, 13: None}
    assert [kept.update_id for kept in await _quarantined(desk)] == [11, 13]


@pytest.mark.criterion("E2", "I9")
async def test_a_database_that_hangs_is_given_up_in_time_and_taken_up_again(desk: Desk, database_url: str) -> None:
    recorder = Recorder(desk.database, desk.clock, ADMINS, record_seconds=0.2)

    async def is_recorded() -> bool:
        return bool(await recorder.record([CHARGE_UPDATE]))

    async def one_is_in_flight() -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with desk.database.reading() as session:
            in_flight: int = (await session.execute(text(waiting))).scalar_one()
        return in_flight == 1

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with logged() as records:
        async with locked(desk.database, database_url, "stripe_events"):
            # Each returns although the lock is held; together they take longer than SQLite waits for a lock.
            for _ in range(10):
                assert await recorder.record([CHARGE_UPDATE]) == {}
            if not desk.database.is_sqlite:
                await until(one_is_in_flight)
        await until(is_recorded)
    told = [record["message"] for record in records if "the database is" in record["message"]]
    assert len(told) == 2
    assert "away" in told[0]
    assert "back" in told[1]
    assert (await counts(desk.database))["stripe_events"] == 1
    gc.collect()
    assert complaints == []


@pytest.mark.criterion("C1", "E2")
async def test_a_write_that_ends_after_its_deadline_counts_at_the_next_poll(desk: Desk, database_url: str) -> None:
    recorder = Recorder(desk.database, desk.clock, ADMINS, record_seconds=0.1)
    facts: RecordedFacts = {}

    async def is_recorded() -> bool:
        facts.update(await recorder.record([CHARGE_UPDATE]))
        return bool(facts)

    with statements(desk.database) as said:
        async with locked(desk.database, database_url, "stripe_events"):
            assert await recorder.record([CHARGE_UPDATE]) == {}
        await until(is_recorded)
    assert facts == {11: read_fact(CHARGE_UPDATE)}
    assert sum(each.startswith("INSERT INTO stripe_events") for each in said) == 1
    assert (await counts(desk.database))["stripe_events"] == 1


@pytest.mark.criterion("I9")
async def test_write_in_flight_and_the_next_share_one_deadline(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(desk.database, desk.clock, ADMINS, record_seconds=0.1)
    waits: list[tuple[float, float]] = []
    real = asyncio.wait

    async def wait(tasks: set[asyncio.Task[RecordedFacts]], *, timeout: float) -> Any:  # noqa: ASYNC109 - asyncio.wait's own
        waits.append((asyncio.get_running_loop().time(), timeout))
        return await real(tasks, timeout=timeout)

    async def is_in_flight() -> bool:
        return bool(waits)

    async with locked(desk.database, database_url, "stripe_events"):
        assert await recorder.record([CHARGE_UPDATE]) == {}
        recorder._record_seconds = WAIT_SECONDS
        monkeypatch.setattr(asyncio, "wait", wait)
        recording = asyncio.create_task(recorder.record([CHARGE_UPDATE, REFUND_UPDATE]))
        await until(is_in_flight)
    assert (await recording).keys() == {11, 13}
    (first_at, first_seconds), (second_at, second_seconds) = waits
    went_by = second_at - first_at
    assert first_seconds - second_seconds > went_by / 2


@pytest.mark.criterion("E2", "I10")
@pytest.mark.engines("postgresql")
async def test_a_connection_that_breaks_confirms_nothing(desk: Desk, recorder: Recorder) -> None:
    async with desk.database.reading() as session:
        before = await dump(session)
    async with breaking_off(desk.database, "INSERT", "stripe_events"):
        assert await recorder.record([CHARGE_UPDATE]) == {}
        async with desk.database.reading() as session:
            assert await dump(session) == before
    facts = await recorder.record([CHARGE_UPDATE])
    assert facts is not None
    assert facts.keys() == {11}


@pytest.mark.criterion("N3", "O1")
async def test_a_subscriptions_state_is_recorded_once_for_an_update(desk: Desk, recorder: Recorder) -> None:
    told = subscription_update("canceled", "p", 21)
    with logged() as records:
        for batch in ([CHARGE_UPDATE, told], [told], [told, subscription_update("active", "p", 22)]):
            assert None not in (await recorder.record(batch)).values()
    async with desk.database.reading() as session:
        kept = list(await session.scalars(select(SubscriptionChange).order_by(SubscriptionChange.id)))
    assert [(row.update_id, row.state, row.payload, row.settled_at) for row in kept] == [
        (21, "canceled", "p", None),
        (22, "active", "p", None),
    ]
    assert {row.user_id for row in kept} == {await desk.user_id()}
    assert "recorded: subscription canceled" in {record["message"] for record in records}


@pytest.mark.criterion("N3", "E3")
async def test_a_state_that_cannot_be_read_is_kept_raw_and_an_admin_told(desk: Desk, recorder: Recorder) -> None:
    odd = subscription_update("paused", "p", 31)
    taken = await recorder.record([CHARGE_UPDATE, odd])
    assert taken[31] is None
    assert taken[11] is not None
    assert [row.update_id for row in await _quarantined(desk)] == [31]
    assert (Notice.QUARANTINED, ADMIN_CHAT_ID) in await desk.told()
