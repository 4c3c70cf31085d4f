"""A refund that the buyer's bank returns: the books count the money again, and a new refund is possible."""

from datetime import timedelta

import pytest

from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.audit import events, transitions
from payments.audit.balance import remainder
from payments.audit.facts import RefundFact
from payments.audit.history import EntryState, read_page
from payments.channel import by_name
from payments.errors import RefundRefusal, RefundRefusedError
from payments.notices import Notice
from payments.refunds.sending import RefundSender
from payments.settlement.refused_refunds import RETURN_ATTEMPTS_MAX
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from payments.stripe.charge_updates import EVENT_TYPES
from payments.stripe.watch import StripeWatch
from tests.support.cards import assert_hearing_again_changes_nothing, card_charge, hear_all_again, read, sell
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER
from tests.support.rows import add_other_services_event
from tests.support.stripe_account import Fault, StripeAccount


async def _left(desk: Desk, charge_id: str) -> int:
    async with desk.database.reading() as session:
        charge = await events.find(session, f"stripe:{charge_id}")
        assert charge is not None
        return remainder(charge, await events.refunds_of(session, charge.event_id))


async def _states(desk: Desk) -> list[tuple[str, EntryState]]:
    async with desk.database.reading() as session:
        entries = (await read_page(session, await desk.user_id())).entries
    return [(entry.event.event_type, entry.state) for entry in entries]


async def _returns(desk: Desk, charge_id: str) -> list[StripeEvent]:
    async with desk.database.reading() as session:
        rows = await events.refunds_of(session, f"stripe:{charge_id}")
    return [row for row in rows if row.event_type == "stripe.refund_failed"]


@pytest.fixture
async def charge_id(desk: Desk, account: StripeAccount) -> str:
    return await sell(desk, account)


@pytest.mark.criterion("R5", "R7")
async def test_a_refund_of_ours_that_came_back_is_on_record_and_can_be_made_again(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    first = await desk.request_refund(f"stripe:{charge_id}")
    await read(watch, worker)
    await desk.deliver()
    desk.clock.advance(days=3)
    account.fail_refund(account.refunds(charge_id)[0]["id"])
    await read(watch, worker)
    [row] = await _returns(desk, charge_id)
    assert (row.event_id, row.refund_of) == (f"returned:{first.event_id}", f"stripe:{charge_id}")
    assert (row.amount_cents, row.currency, row.requested_by) == (499, "USD", "stripe")
    assert (row.status, row.outcome, row.reason) == (1, EventOutcome.RETURNED, "expired_or_canceled_card")
    assert row.webhook_timestamp == START + timedelta(days=3)
    assert (await desk.event(first.event_id)).outcome == EventOutcome.REFUNDED
    assert await _left(desk, charge_id) == 499
    assert not await desk.holds(), "the money is still owed: a person decides"
    ((notice, chat_id, facts),) = await desk.notices(row.event_id)
    assert (notice, chat_id, facts["charge_id"]) == (Notice.REFUND_FAILED, ADMIN_CHAT_ID, f"stripe:{charge_id}")
    assert facts["stays"] == "closed"
    assert [notice for notice, _, _ in await desk.due_notices()] == [Notice.REFUND_FAILED]
    assert await _states(desk) == [
        ("stripe.refund_failed", EntryState.RETURNED),
        ("stripe.refunded", EntryState.DONE),
        ("stripe.successful_payment", EntryState.OWED),
    ]
    desk.clock.advance(days=1)
    again = await desk.request_refund(f"stripe:{charge_id}")
    assert (again.event_id, again.amount_cents) == (f"refund:stripe:{charge_id}:{again.id}", 499)
    await read(watch, worker)
    assert (await desk.event(again.event_id)).outcome == EventOutcome.REFUNDED
    assert (account.refunded(charge_id), await _left(desk, charge_id)) == (499, 0)
    assert (await _states(desk))[-1] == ("stripe.successful_payment", EntryState.GIVEN_BACK)
    with pytest.raises(RefundRefusedError, match=RefundRefusal.ALREADY_REFUNDED):
        await desk.request_refund(f"stripe:{charge_id}")


@pytest.mark.criterion("R1")
async def test_the_whole_given_back_in_the_dashboard_a_second_time_is_a_refund_of_its_own(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    first = account.give_back(charge_id)
    await read(watch, worker)
    for _ in range(2):
        desk.clock.advance(days=1)
        account.fail_refund(account.refunds(charge_id)[-1]["id"])
        await read(watch, worker)
        assert await _left(desk, charge_id) == 499
        desk.clock.advance(days=1)
        account.give_back(charge_id)
        await read(watch, worker)
        assert await _left(desk, charge_id) == 0
    assert first not in " ".join(row.event_id for row in await _returns(desk, charge_id))
    assert [(row.event_id, row.webhook_timestamp) for row in await _returns(desk, charge_id)] == [
        (f"returned:refund:stripe:{charge_id}", START + timedelta(days=1)),
        (f"returned:refund:stripe:{charge_id}:{account.refunds(charge_id)[1]['id']}", START + timedelta(days=3)),
    ]


async def test_a_part_that_came_back_is_left_again(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    part = account.give_back(charge_id, 100)
    await read(watch, worker)
    desk.clock.advance(days=1)
    account.fail_refund(part)
    # Given back after it came back: 450 are out, and at no time were all 499.
    desk.clock.advance(seconds=1)
    account.give_back(charge_id, 450)
    await read(watch, worker)
    assert await _left(desk, charge_id) == 49
    assert await desk.holds()
    [facts] = [facts for kind, _, facts in await desk.notices() if kind is Notice.REFUND_FAILED]
    assert (facts["amount"], facts["stays"]) == (100, "open")
    assert (await _states(desk))[-1] == ("stripe.successful_payment", EntryState.DONE)
    assert (await desk.request_refund(f"stripe:{charge_id}")).amount_cents == 49
    await read(watch, worker)
    assert not await desk.holds()


@pytest.mark.criterion("R6")
async def test_refund_after_a_returned_one_is_told_as_another_refund(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    account.fail_refund(await _given_back(desk, account, watch, worker, charge_id))
    await read(watch, worker)
    await desk.deliver()
    desk.clock.advance(days=1)
    account.give_back(charge_id, 100)
    await read(watch, worker)
    assert [notice for notice, _, _ in await desk.due_notices()] == [Notice.REFUNDED, Notice.REFUNDED_OUTSIDE]
    [facts] = [facts for kind, _, facts in await desk.notices() if kind is Notice.REFUNDED and facts["amount"] == 100]
    assert facts["is_again"] is True


async def _given_back(desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str) -> str:
    """Give all of a charge back in the dashboard, and read it; return the refund's id, a day later."""
    refund_id = account.give_back(charge_id)
    await read(watch, worker)
    desk.clock.advance(days=1)
    return refund_id


@pytest.mark.criterion("R8")
async def test_repeated_event_of_a_returned_refund_changes_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    account.fail_refund(await _given_back(desk, account, watch, worker, charge_id))
    await read(watch, worker)
    await assert_hearing_again_changes_nothing(desk, account, watch, worker)


async def test_unrecorded_refund_that_returned_is_told_and_writes_no_row(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    refund_id = account.give_back(charge_id)
    account.fail_refund(refund_id)
    for _ in range(2):
        await read(watch, worker)
        watch._done.clear()
    ((notice, chat_id, facts),) = await desk.notices(f"stripe:{refund_id}")
    assert (notice, chat_id, facts["amount"]) == (Notice.REFUND_FAILED, ADMIN_CHAT_ID, 499)
    assert (facts["reason"], facts["stays"]) == ("expired_or_canceled_card", "open")
    async with desk.database.reading() as session:
        assert await events.refunds_of(session, f"stripe:{charge_id}") == []
    assert await desk.holds()


async def test_a_refund_that_failed_before_its_answer_was_on_record_is_not_taken_for_done(
    desk: Desk, account: StripeAccount, api: StripeApi, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    asked = await desk.request_refund(f"stripe:{charge_id}")
    # Killed between Stripe's answer and our commit; the same key brings the old answer.
    await RefundSender(desk.database, by_name(CardChannel(api)), desk.clock).send(asked.event_id)
    desk.clock.advance(minutes=1)
    account.fail_refund(account.refunds(charge_id)[0]["id"])
    async with desk.database.transaction() as session:
        await transitions.release_claims(session)
    await read(watch, worker)
    parked = await desk.event(asked.event_id)
    assert (parked.status, parked.error) == (EventStatus.FAILED, "Stripe says of the refund: failed")
    assert await desk.holds()
    desk.clock.advance(minutes=1)
    await desk.retry(asked.event_id)
    watch._done.clear()
    await read(watch, worker)
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.REFUNDED
    assert await _returns(desk, charge_id) == [], "the second attempt is out"
    assert (account.refunded(charge_id), await _left(desk, charge_id)) == (499, 0)


async def test_refund_with_two_attempts_is_returned_when_both_are(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    asked = await desk.request_refund(f"stripe:{charge_id}")
    account.faults.append(Fault.CUT_AFTER)
    await worker.work_once()
    desk.clock.advance(minutes=1)
    account.fail_refund(account.refunds(charge_id)[0]["id"])
    await read(watch, worker)
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.PARKED
    await desk.retry(asked.event_id)
    await worker.work_once()
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.REFUNDED
    assert await _left(desk, charge_id) == 0
    desk.clock.advance(minutes=1)
    account.fail_refund(account.refunds(charge_id)[1]["id"])
    await read(watch, worker)
    [row] = await _returns(desk, charge_id)
    assert row.webhook_timestamp == START + timedelta(minutes=2)
    assert await _left(desk, charge_id) == 499


async def test_while_it_is_not_read_since_when_one_is_back_a_refusal_decides_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    part = account.give_back(charge_id, 100)
    await read(watch, worker)
    rest = await desk.request_refund(f"stripe:{charge_id}")
    desk.clock.advance(days=1)
    account.fail_refund(part)
    desk.clock.advance(seconds=1)
    account.give_back(charge_id, 450)
    await worker.work_once()
    waiting = await desk.event(rest.event_id)
    assert (waiting.status, waiting.outcome, waiting.attempts) == (EventStatus.FAILED, None, 1)
    assert await desk.holds()
    desk.clock.advance(minutes=1)
    await read(watch, worker)
    assert (await desk.event(rest.event_id)).outcome == EventOutcome.REPLACED
    assert (account.refunded(charge_id), await _left(desk, charge_id)) == (499, 0)
    assert not await desk.holds()


@pytest.mark.criterion("R7")
async def test_refund_whose_event_is_gone_counts_as_returned_after_some_attempts(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    part = account.give_back(charge_id, 100)
    await read(watch, worker)
    account.fail_refund(part)
    gone = account.events.pop()
    account.open_dispute(charge_id)
    rest = await desk.request_refund(f"stripe:{charge_id}")
    for _ in range(RETURN_ATTEMPTS_MAX):
        assert (await desk.event(rest.event_id)).outcome is None
        desk.clock.advance(hours=1)
        await worker.work_once()
    parked = await desk.event(rest.event_id)
    assert (parked.outcome, parked.error) == (EventOutcome.PARKED, f"Charge {charge_id} has been charged back.")
    [row] = await _returns(desk, charge_id)
    assert row.webhook_timestamp == desk.clock()
    account.events.append(gone)
    await read(watch, worker)
    assert [(each.id, each.webhook_timestamp) for each in await _returns(desk, charge_id)] == [
        (row.id, row.webhook_timestamp)
    ]
    assert [notice for notice, _ in await desk.told()].count(Notice.REFUND_FAILED) == 1
    await desk.retry(rest.event_id)
    await worker.work_once()
    assert (await desk.event(rest.event_id)).error == parked.error, "taken up again, it is refused at once"


async def test_a_payment_that_comes_after_its_refund_came_back_opens_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = account.charge(499)
    await desk.record(card_charge(charge_id))
    account.fail_refund(await _given_back(desk, account, watch, worker, charge_id))
    await read(watch, worker)
    await desk.settle(f"stripe:{charge_id}")
    assert not await desk.holds()
    assert await _left(desk, charge_id) == 499


@pytest.mark.criterion("R5")
async def test_a_refund_that_was_canceled_came_back(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    account.cancel_refund(await _given_back(desk, account, watch, worker, charge_id))
    await read(watch, worker)
    [row] = await _returns(desk, charge_id)
    assert (row.amount_cents, row.reason, row.webhook_timestamp) == (499, "canceled", START + timedelta(days=1))
    assert await _left(desk, charge_id) == 499
    await desk.request_refund(f"stripe:{charge_id}")
    await read(watch, worker)
    assert (account.refunded(charge_id), await _left(desk, charge_id)) == (499, 0)


@pytest.mark.criterion("R8")
@pytest.mark.parametrize("seen", ["before", "after", "never"])
async def test_returned_refund_told_by_two_kinds_of_event_counts_once(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str, seen: str
) -> None:
    refund_id = account.give_back(charge_id)
    if seen != "never":
        await read(watch, worker)
    desk.clock.advance(days=1)
    account.fail_refund(refund_id)
    if seen == "before":
        await read(watch, worker)
    desk.clock.advance(seconds=5)
    account.tell("refund.updated", account.find("refund", refund_id))
    for _ in range(2):
        await read(watch, worker)
        watch._done.clear()
    returns = await _returns(desk, charge_id)
    assert [row.webhook_timestamp for row in returns] == ([] if seen == "never" else [START + timedelta(days=1)])
    assert [notice for notice, _ in await desk.told()].count(Notice.REFUND_FAILED) == 1


async def test_news_of_a_refund_that_stays_with_the_buyer_asks_stripe_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    refund_id = await _given_back(desk, account, watch, worker, charge_id)
    account.tell("refund.updated", account.find("refund", refund_id))
    account.queries.clear()
    await read(watch, worker)
    assert {query.get("type") for query in account.queries} == set(EVENT_TYPES)
    assert await _left(desk, charge_id) == 0


@pytest.mark.criterion("R1", "C3", "I5")
@pytest.mark.parametrize("is_theirs", [True, False], ids=["another service's", "in another currency"])
async def test_refund_with_a_key_apart_is_one_refund_and_can_return(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, *, is_theirs: bool
) -> None:
    charge_id = await sell(desk, account)
    if is_theirs:
        async with desk.database.transaction() as session:
            await add_other_services_event(session, f"refund:stripe:{charge_id}", await desk.user_id())
    else:
        await desk.take(RefundFact(f"stripe:{charge_id}", BUYER, 499, "EUR", desk.clock()))
    refund_id = account.give_back(charge_id)
    await read(watch, worker)
    assert not await desk.holds()
    desk.clock.advance(minutes=1)
    account.fail_refund(refund_id)
    await hear_all_again(desk, account, watch, worker)
    async with desk.database.reading() as session:
        rows = [row for row in await events.refunds_of(session, f"stripe:{charge_id}") if row.currency == "USD"]
    assert sorted((row.event_type, row.outcome) for row in rows) == [
        ("stripe.refund_failed", EventOutcome.RETURNED),
        ("stripe.refunded", EventOutcome.REFUNDED),
    ]
    assert (await desk.request_refund(f"stripe:{charge_id}")).amount_cents == 499
