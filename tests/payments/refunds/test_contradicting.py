"""Contradicting refunds of one charge: the desk settles the true one, and the others wait for nobody."""

from dataclasses import replace
from typing import Final

import pytest
from sqlalchemy import select

from db.states import EventOutcome, EventStatus
from db.tables import QuarantinedUpdate
from payments.audit.facts import RefundFact
from payments.notices import Notice
from payments.recording.quarantine import QUARANTINE_PREFIX
from payments.recording.recorder import Recorder
from payments.reports.reader import read_report
from payments.reports.spans import Span, Step
from payments.settlement.worker import Worker
from payments.waiting import RetryResult, list_pending
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMINS, BUYER, STRANGER, charge, refund, refund_update

pytestmark = pytest.mark.engines("sqlite", "postgresql")

TRUE: Final = refund(charge("X"))
WRONG: Final = {"user": replace(TRUE, person=STRANGER), "amount": replace(TRUE, amount=180)}


async def _tell(desk: Desk, fact: RefundFact, update_id: int) -> bool:
    """Record a refund as its update comes; tell whether it is on record, and not in quarantine."""
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    return (await recorder.record([refund_update(fact, update_id)]))[update_id] is not None


async def _work(worker: Worker) -> None:
    while await worker.work_once():
        pass


async def _waiting(desk: Desk) -> int:
    async with desk.database.reading() as session:
        return (await list_pending(session)).count


async def _quarantined(desk: Desk) -> list[str]:
    async with desk.database.reading() as session:
        rows = await session.scalars(select(QuarantinedUpdate.id).order_by(QuarantinedUpdate.created_at))
        return [QUARANTINE_PREFIX + row_id for row_id in rows]


@pytest.mark.criterion("R1", "R4", "C3")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_settled", [True, False])
async def test_the_true_refund_is_taken_up_when_its_charge_comes_last(
    desk: Desk, worker: Worker, wrong: str, *, is_settled: bool
) -> None:
    assert await _tell(desk, WRONG[wrong], 8)
    if is_settled:
        await _work(worker)
    assert not await _tell(desk, TRUE, 9)
    await desk.record(charge("X"))
    await _work(worker)
    assert not await desk.holds()
    assert await _waiting(desk) == 0
    apart = await desk.event(TRUE.apart.event_id)
    assert (apart.outcome, apart.amount_cents) == (EventOutcome.REFUNDED, 200)
    assert (Notice.REFUNDED, BUYER.telegram_id) in await desk.told(apart.event_id)
    # Told of once more, it is the same refund.
    assert await _tell(desk, TRUE, 10)
    await _work(worker)
    assert await desk.retry((await _quarantined(desk))[0]) is RetryResult.NOT_WAITING


@pytest.mark.parametrize(
    "other",
    [refund(charge("X2")), refund(charge("x")), refund(charge("X", payer=STRANGER)), replace(TRUE, amount=199)],
    ids=["longer", "lower case", "another user's", "another amount"],
)
async def test_other_updates_in_quarantine_stay_there(desk: Desk, worker: Worker, other: RefundFact) -> None:
    await _tell(desk, WRONG["amount"], 8)
    if other.charge_id != "X":
        await _tell(desk, replace(other, amount=7), 7)
    assert not await _tell(desk, other, 9)
    await _work(worker)
    await desk.record(charge("X"))
    await _work(worker)
    assert await desk.holds()
    assert await _waiting(desk) == 1


@pytest.mark.criterion("R3", "R4")
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_refund_waits_no_more_when_the_true_one_is_through(
    desk: Desk, worker: Worker, wrong: str
) -> None:
    await desk.take(charge("X"))
    await desk.take(WRONG[wrong])
    assert (await _waiting(desk), (await desk.event("refund:X")).outcome) == (1, EventOutcome.PARKED)
    for update_id, fact in enumerate([TRUE, WRONG[wrong], TRUE], 9):
        assert await _tell(desk, fact, update_id)
        await _work(worker)
    event = await desk.event("refund:X")
    assert (await _waiting(desk), event.outcome, event.status) == (0, EventOutcome.REPLACED, EventStatus.FAILED)
    assert await desk.retry("refund:X") is RetryResult.NOT_WAITING
    report = await read_report(desk.database, Span(START.date(), START.date()), Step.DAY)
    assert report.whole.figures("XTR").given_back == 200


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_refund_that_is_settled_after_the_true_one_waits_for_nobody(
    desk: Desk, worker: Worker, wrong: str
) -> None:
    await desk.take(charge("X"))
    assert await _tell(desk, WRONG[wrong], 8)
    assert await _tell(desk, TRUE, 9)
    await desk.settle(TRUE.apart.event_id)
    assert not await desk.holds()
    await _work(worker)
    assert (await _waiting(desk), (await desk.event("refund:X")).outcome) == (0, EventOutcome.REPLACED)
    [facts] = [facts for notice, _, facts in await desk.notices("refund:X") if notice is Notice.PARKED]
    assert facts["is_over"]


@pytest.mark.criterion("R3")
@pytest.mark.parametrize("wrong", WRONG)
async def test_notice_of_a_settled_refund_names_no_retry(desk: Desk, worker: Worker, wrong: str) -> None:
    await desk.take(WRONG[wrong])
    await desk.take(charge("X"))
    await _work(worker)
    assert await desk.holds()
    [facts] = [facts for notice, _, facts in await desk.notices("refund:X") if notice is Notice.PARKED]
    assert facts["is_over"]
    assert (await desk.retry("refund:X"), await _waiting(desk)) == (RetryResult.NOT_WAITING, 0)


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_refund_after_the_true_one_leaves_quarantine_by_a_retry(desk: Desk, wrong: str) -> None:
    await desk.take(charge("X"))
    await desk.take(TRUE)
    assert not await _tell(desk, WRONG[wrong], 9)
    [waiting] = await _quarantined(desk)
    assert await desk.retry(waiting) is RetryResult.NOT_WAITING
    assert await _waiting(desk) == 0


async def test_a_wrong_refund_of_a_charge_that_is_kept_stays_in_quarantine(desk: Desk) -> None:
    await desk.take(charge("X"))
    await desk.take(WRONG["user"])
    assert not await _tell(desk, WRONG["amount"], 9)
    [waiting] = await _quarantined(desk)
    assert await desk.retry(waiting) is RetryResult.STILL_UNRECORDABLE
    assert await _waiting(desk) == 2
