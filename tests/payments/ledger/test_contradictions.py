"""The ledger brings the true refund of a charge, although another row has its key."""

from dataclasses import replace
from typing import Final

import pytest

from db.states import EventOutcome
from payments.audit import events
from payments.audit.facts import MoneyFact
from payments.ledger.findings import Finding
from payments.settlement.worker import Worker
from sandbox.client import SandboxClient
from tests.support.ledger import Books, row
from tests.support.money import STRANGER, charge, refund
from tests.support.rows import add_other_services_event

TRUE: Final = refund(charge("X"))


async def _is_settled_once(books: Books, worker: Worker) -> None:
    for _ in range(2):
        await books.compare(from_start=True)
        while await worker.work_once():
            pass
    assert not await books.desk.holds()
    async with books.desk.database.reading() as session:
        apart = [each for each in await events.refunds_of(session, "X") if each.event_id == TRUE.apart.event_id]
    [true] = apart
    assert (true.outcome, true.ledger_seen_at is None) == (EventOutcome.REFUNDED, False)
    report = await books.compare(from_start=True)
    assert (report.counts.unexplained, report.counts.recovered) == (0, 0)
    stand = await books.stand()
    assert stand.payment_stars == stand.event_stars


@pytest.mark.criterion("R1", "R4", "C3")
@pytest.mark.parametrize("wrong", [replace(TRUE, person=STRANGER), replace(TRUE, amount=180)], ids=["user", "amount"])
@pytest.mark.parametrize("is_before", [False, True], ids=["after its charge", "before its charge"])
async def test_a_wrong_refund_does_not_keep_out_the_ledgers(
    books: Books, telegram: SandboxClient, worker: Worker, wrong: MoneyFact, *, is_before: bool
) -> None:
    for fact in (wrong, charge("X")) if is_before else (charge("X"), wrong):
        await books.desk.take(fact)
    assert await books.desk.holds()
    await telegram.add_rows([row(charge("X")), row(TRUE)])
    await _is_settled_once(books, worker)
    # The ledger was never seen to have the wrong one.
    assert (await books.desk.event("refund:X")).ledger_seen_at is None


@pytest.mark.criterion("R1", "R4")
async def test_a_wrong_refund_of_the_amount_after_the_commission_is_not_taken_for_the_true_one(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    await books.desk.take(charge("X"))
    await books.desk.take(replace(TRUE, amount=180))
    affiliate = {"affiliate_user": {"id": 7}, "commission_per_mille": 100, "amount": -20}
    sold = {**affiliate, "amount": 20}
    await telegram.add_rows(
        [row(charge("X"), affiliate=sold) | {"amount": 180}, row(TRUE, affiliate=affiliate) | {"amount": 180}]
    )
    await _is_settled_once(books, worker)


@pytest.mark.criterion("I5", "R1", "R4")
async def test_another_services_row_does_not_keep_out_the_ledgers(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    await books.desk.take(charge("X"))
    async with books.desk.database.transaction() as session:
        await add_other_services_event(session, "refund:X", await books.desk.user_id())
    await telegram.add_rows([row(charge("X")), row(TRUE)])
    await _is_settled_once(books, worker)


@pytest.mark.criterion("R1", "C3")
@pytest.mark.parametrize("is_known", [True, False], ids=["on record", "new"])
async def test_a_charge_that_is_called_like_a_refund_does_not_swallow_it(
    books: Books, telegram: SandboxClient, worker: Worker, *, is_known: bool
) -> None:
    if is_known:
        await books.desk.take(charge("X"))
        await books.desk.take(charge("refund:X"))
    rows = [row(charge("X")), row(charge("refund:X")), row(TRUE), row(refund(charge("refund:X")))]
    await telegram.add_rows(rows)
    await _is_settled_once(books, worker)
    assert (await books.desk.event("refund:X")).outcome == EventOutcome.GRANTED


async def test_a_charge_whose_id_a_refund_has_is_told(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge("X")), row(TRUE), row(charge("refund:X"))])
    report = await books.compare()
    assert [(each.finding, each.about) for each in report.counts.findings] == [(Finding.UNRECORDABLE, "refund:X")]
    assert (await books.desk.event("refund:X")).refund_of == "X"
