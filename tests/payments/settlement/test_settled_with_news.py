"""A settled charge with a later fact, and a bug that keeps the fact from being applied."""

from datetime import timedelta

import pytest

from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.audit import events, transitions
from payments.audit.history import EntryState, read_page
from payments.notices import Notice
from payments.settlement.worker import Worker
from payments.waiting import RetryResult, list_pending, read_backlog
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, charge, refund
from tests.support.samples import added
from tests.support.subscription_facts import in_ledger, paid

HOUR = timedelta(hours=1)


async def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


async def _fail(desk: Desk, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> StripeEvent:
    """Settle a charge as the ledger tells it, let its update come, and fail until nobody tries any more."""
    await desk.take(in_ledger(paid(1)))
    await desk.record(paid(1))
    with monkeypatch.context() as patch:
        patch.setattr(desk.settlement.subscriptions, "update_from_charges", _broken)
        for _ in range(transitions.ATTEMPTS_MAX):
            await worker.process("sub-1")
            desk.clock.now += 2 * HOUR
    return await desk.event("sub-1")


async def test_granted_charge_with_failed_news_is_not_told_as_waiting(
    desk: Desk, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await _fail(desk, worker, monkeypatch)
    assert (event.status, event.outcome, event.due_at, event.parked_at) == (1, EventOutcome.GRANTED, None, None)
    told = await desk.told()
    assert Notice.WAITING not in [notice for notice, _ in told]
    assert told[-1] == (Notice.PARKED, ADMIN_CHAT_ID)
    assert await desk.holds()


async def test_granted_charge_with_failed_news_is_listed_counted_and_retried(
    desk: Desk, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fail(desk, worker, monkeypatch)
    async with desk.database.reading() as session:
        waiting = await list_pending(session)
        backlog = await read_backlog(session)
        page = await read_page(session, await desk.user_id())
    assert ([event.event_id for event, _ in waiting.events], waiting.count) == (["sub-1"], 1)
    assert backlog.events["parked"].count == 1
    assert [entry.state for entry in page.entries] == [EntryState.DONE]
    assert await desk.retry("sub-1") is RetryResult.BEGUN
    with added() as grown:
        await worker.process("sub-1")
    assert grown == {}, "the payment was counted when it was granted"
    event = await desk.event("sub-1")
    assert (event.status, event.error, event.due_at, event.attempts) == (EventStatus.PROCESSED, None, None, 0)
    async with desk.database.reading() as session:
        assert (await list_pending(session)).count == 0
    assert await desk.retry("sub-1") is RetryResult.NOT_WAITING


async def test_granted_charge_with_failed_news_can_be_refunded(
    desk: Desk, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fail(desk, worker, monkeypatch)
    await desk.take(refund(paid(1), desk.clock()))
    assert not await desk.holds()


async def test_unsettled_charge_is_told_as_waiting(desk: Desk) -> None:
    await desk.record(charge("X"))
    async with desk.database.transaction() as session:
        event = await events.lock(session, "X")
        assert event is not None
        while transitions.fail(event, "a bug", desk.clock(), jitter=0):
            pass
        await desk.settlement.parking.tell(session, event, "a bug")
    assert Notice.WAITING in [notice for notice, _ in await desk.told("X")]
