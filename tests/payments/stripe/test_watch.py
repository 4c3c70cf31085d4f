"""Stripe's events take effect here: refunds, partial refunds, disputes; in any order and repetition."""

import asyncio
from datetime import timedelta
from itertools import permutations
from typing import Final

import pytest
from sqlalchemy import select

from db.states import EventOutcome
from db.tables import EntitlementGrant, StripeEvent, StripeReading
from payments.audit import events
from payments.audit.balance import remainder
from payments.audit.history import EntryState, read_page
from payments.errors import RefundRefusal, RefundRefusedError
from payments.notices import Notice
from payments.settlement.worker import Worker
from payments.stripe.charge_updates import EVENT_TYPES, REFUNDED
from payments.stripe.watch import DEEP_EVERY_SECONDS, DEEP_SECONDS, LATE_SECONDS, StripeWatch
from tests.support.cards import assert_hearing_again_changes_nothing, card_charge, read, refunds, sell
from tests.support.clock import START
from tests.support.desk import Desk, counts
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, BUYER
from tests.support.rows import add_other_services_event
from tests.support.stripe_account import Fault, StripeAccount
from tests.support.waiting import until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

BUYER_CHAT: Final = BUYER.telegram_id


async def told(desk: Desk) -> list[tuple[Notice, int]]:
    """Return what is due to be told."""
    return [(notice, chat_id) for notice, chat_id, _ in await desk.due_notices()]


@pytest.mark.criterion("R1", "R4", "R5")
async def test_a_refund_in_the_dashboard_ends_the_access(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    desk.clock.advance(days=3)
    account.give_back(charge_id)
    await read(watch, worker)
    refund = await desk.event(f"refund:stripe:{charge_id}")
    assert (refund.event_type, refund.payment_method, refund.requested_by) == ("stripe.refunded", "stripe", "stripe")
    assert (refund.amount_cents, refund.currency, refund.outcome) == (499, "USD", EventOutcome.REFUNDED)
    assert refund.webhook_timestamp == START + timedelta(days=3)
    assert not await desk.holds()
    assert await told(desk) == [(Notice.REFUNDED, BUYER_CHAT), (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID)]


async def test_parts_are_recorded_each_and_end_the_access_when_they_add_up(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    first = account.give_back(charge_id, 100)
    await read(watch, worker)
    part = await desk.event(f"refund:stripe:{charge_id}:{first}")
    assert (part.amount_cents, part.outcome, part.refund_of) == (100, EventOutcome.REFUNDED, f"stripe:{charge_id}")
    assert await desk.holds()
    assert await told(desk) == [(Notice.PARTLY_REFUNDED, BUYER_CHAT), (Notice.PARTLY_REFUNDED_OUTSIDE, ADMIN_CHAT_ID)]
    await desk.deliver()
    desk.clock.advance(days=1)
    second = account.give_back(charge_id)
    await read(watch, worker)
    assert (await desk.event(f"refund:stripe:{charge_id}:{second}")).amount_cents == 399
    (_, _, facts), _ = await desk.notices(f"refund:stripe:{charge_id}:{second}")
    assert facts["is_rest"] is True
    assert not await desk.holds()
    assert await told(desk) == [(Notice.REFUNDED, BUYER_CHAT), (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID)]
    async with desk.database.reading() as session:
        entries = (await read_page(session, await desk.user_id())).entries
    assert [entry.state for entry in entries] == [EntryState.DONE, EntryState.DONE, EntryState.GIVEN_BACK]


@pytest.mark.criterion("R8")
async def test_events_twice_and_out_of_order_change_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id, 100)
    desk.clock.advance(days=1)
    account.give_back(charge_id)
    account.events.reverse()
    await read(watch, worker)
    await assert_hearing_again_changes_nothing(desk, account, watch, worker)


async def test_settled_in_any_order_the_parts_end_the_access_at_the_same_time(
    desk: Desk, account: StripeAccount, watch: StripeWatch
) -> None:
    for order in permutations(range(3)):
        charge_id = await sell(desk, account)
        parts = []
        for amount in (100, 200, None):
            desk.clock.advance(hours=1)
            parts.append(account.give_back(charge_id, amount))
        ended_at = desk.clock()
        desk.clock.advance(hours=1)
        await watch.read_once()
        for index in order:
            await desk.settle(f"refund:stripe:{charge_id}:{parts[index]}")
        grants = select(EntitlementGrant.revoked_at).where(EntitlementGrant.source == f"stripe:{charge_id}")
        async with desk.database.reading() as session:
            assert (await session.scalars(grants)).all() == [ended_at]


async def test_events_of_charges_that_are_not_ours_are_counted_and_not_recorded(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    await sell(desk, account)
    before = await counts(desk.database)
    for _ in range(2):
        desk.clock.advance(hours=1)
        account.give_back(account.charge(100))
        account.open_dispute(account.charge(100))
        await read(watch, worker)
    async with desk.database.reading() as session:
        assert (await session.scalars(select(StripeReading.foreign_count))).one() == 4
    assert await counts(desk.database) == before | {"stripe_reading": 1}


async def test_a_refund_that_was_read_before_its_charge_came_is_found_when_it_has(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = account.charge(499)
    account.give_back(charge_id)
    await read(watch, worker)
    desk.clock.advance(hours=23)
    account.give_back(account.charge(1))
    await read(watch, worker)
    await desk.take(card_charge(charge_id))
    desk.clock.advance(hours=1)
    assert await desk.holds()
    await read(watch, worker)
    assert not await desk.holds()


async def test_a_reading_goes_on_where_the_last_one_ended(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    await sell(desk, account)
    account.give_back(account.charge(1))
    await read(watch, worker)
    async with desk.database.reading() as session:
        assert (await session.scalars(select(StripeReading.newest))).one() == START.timestamp()
    for passed_seconds, back_seconds in ((0, LATE_SECONDS), (DEEP_EVERY_SECONDS, DEEP_SECONDS)):
        desk.clock.advance(seconds=passed_seconds)
        account.queries.clear()
        await read(watch, worker)
        assert {query["created[gte]"] for query in account.queries} == {str(int(START.timestamp()) - back_seconds)}


async def test_a_dispute_is_told_when_it_is_opened_and_ends_the_access_when_it_is_lost(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    dispute_id = account.open_dispute(charge_id)
    await read(watch, worker)
    assert await desk.holds()
    ((notice, chat_id, facts),) = await desk.notices(f"stripe:{dispute_id}")
    assert (notice, chat_id) == (Notice.DISPUTED, ADMIN_CHAT_ID)
    assert (facts["reason"], facts["amount"], facts["currency"]) == ("fraudulent", 499, "USD")
    await desk.deliver()
    account.close_dispute(dispute_id, "lost")
    await read(watch, worker)
    taken = await desk.event(f"refund:stripe:{charge_id}:{dispute_id}")
    assert (taken.event_type, taken.reason) == ("stripe.dispute_lost", "dispute lost: fraudulent")
    assert not await desk.holds()
    assert await told(desk) == [(Notice.CHARGED_BACK, BUYER_CHAT), (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID)]


@pytest.mark.criterion("R5")
@pytest.mark.parametrize("is_known_before", [False, True])
async def test_a_lost_dispute_of_more_than_was_paid_takes_all_of_it(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, *, is_known_before: bool
) -> None:
    charge_id = account.charge(499)
    await desk.record(card_charge(charge_id))
    if not is_known_before:
        await desk.settle(f"stripe:{charge_id}")
    dispute_id = account.open_dispute(charge_id, 505)
    account.close_dispute(dispute_id, "lost")
    if is_known_before:
        await watch.read_once()
        await desk.settle(f"stripe:{charge_id}")
    await read(watch, worker)
    taken = await desk.event(f"refund:stripe:{charge_id}:{dispute_id}")
    assert (taken.outcome, taken.amount_cents) == (EventOutcome.REFUNDED, 505)
    assert not await desk.holds()
    assert Notice.PARKED not in [notice for notice, _ in await desk.told()]
    with pytest.raises(RefundRefusedError, match=RefundRefusal.ALREADY_REFUNDED):
        await desk.request_refund(f"stripe:{charge_id}")
    async with desk.database.reading() as session:
        charge = await events.find(session, f"stripe:{charge_id}")
        assert charge is not None
        assert remainder(charge, await events.refunds_of(session, charge.event_id)) == 0


async def test_a_lost_dispute_in_another_currency_waits_for_a_person(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    dispute_id = account.open_dispute(charge_id, 460)
    account.objects[dispute_id]["currency"] = "eur"
    account.close_dispute(dispute_id, "lost")
    await read(watch, worker)
    parked = await desk.event(f"refund:stripe:{charge_id}:{dispute_id}")
    assert (parked.outcome, parked.error) == (EventOutcome.PARKED, "the refund says 460 EUR, the charge 499 USD")
    assert await desk.holds(), "how much of the charge it took is a person's to say"


async def test_a_dispute_that_is_won_leaves_the_access_and_is_told(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    dispute_id = account.open_dispute(charge_id)
    account.close_dispute(dispute_id, "won")
    await read(watch, worker)
    assert [notice for notice, _ in await told(desk)] == [Notice.DISPUTED, Notice.DISPUTE_CLOSED]
    assert await desk.holds()


async def test_request_after_a_partial_refund_is_for_the_remainder(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id, 100)
    await read(watch, worker)
    asked = await desk.request_refund(f"stripe:{charge_id}")
    assert asked.amount_cents == 399
    await read(watch, worker)
    assert account.refunded(charge_id) == 499
    assert not await desk.holds()
    assert sorted(row.amount_cents for row in await refunds(desk, charge_id)) == [100, 399]
    with pytest.raises(RefundRefusedError, match=RefundRefusal.ALREADY_REFUNDED):
        await desk.request_refund(f"stripe:{charge_id}")


async def test_refund_requested_here_and_made_in_the_dashboard_counts_once(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id, 100)
    await read(watch, worker)
    await desk.request_refund(f"stripe:{charge_id}")
    account.give_back(charge_id)
    for _ in range(2):
        await read(watch, worker)
        watch._done.clear()
    assert sorted((row.amount_cents, row.outcome) for row in await refunds(desk, charge_id)) == [
        (100, EventOutcome.REFUNDED),
        (399, EventOutcome.REFUNDED),
        (399, EventOutcome.REPLACED),
    ]
    assert not await desk.holds()


@pytest.mark.criterion("R8")
async def test_given_back_in_parts_there_is_nothing_left_to_ask_for(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id, 100)
    account.give_back(charge_id)
    await read(watch, worker)
    with pytest.raises(RefundRefusedError, match=RefundRefusal.ALREADY_REFUNDED):
        await desk.request_refund(f"stripe:{charge_id}")


@pytest.mark.criterion("I5")
async def test_a_row_of_another_service_is_never_touched(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    await sell(desk, account)
    theirs = account.charge(499)
    async with desk.database.transaction() as session:
        await add_other_services_event(session, f"stripe:{theirs}", await desk.user_id())
    before = await desk.event(f"stripe:{theirs}")
    account.give_back(theirs)
    await read(watch, worker)
    after = await desk.event(f"stripe:{theirs}")
    assert [getattr(after, column.key) for column in StripeEvent.__table__.columns] == [
        getattr(before, column.key) for column in StripeEvent.__table__.columns
    ]
    assert await refunds(desk, theirs) == []
    assert await desk.holds()


async def test_unrecordable_refund_is_told_and_holds_up_no_other(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    odd, plain = await sell(desk, account), await sell(desk, account)
    account.give_back(odd, currency="dollars")
    account.give_back(plain)
    await read(watch, worker)
    assert (await desk.event(f"refund:stripe:{plain}")).outcome == EventOutcome.REFUNDED
    assert (Notice.UNRECORDED, ADMIN_CHAT_ID) in await told(desk)


async def test_answer_of_somebody_else_in_stripes_place_is_asked_again(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id)
    account.faults.extend([*(None for _ in EVENT_TYPES[: EVENT_TYPES.index(REFUNDED) + 1]), Fault.STRANGE])
    await read(watch, worker)
    assert await told(desk) == [(Notice.UNRECORDED, ADMIN_CHAT_ID)]
    assert await desk.holds()
    await read(watch, worker)
    assert (await desk.event(f"refund:stripe:{charge_id}")).outcome == EventOutcome.REFUNDED
    assert not await desk.holds()


async def test_an_outage_is_said_once_and_its_end_once(account: StripeAccount, watch: StripeWatch) -> None:
    account.faults.extend([Fault.BROKEN, Fault.BROKEN])
    with logged() as records:
        for _ in range(4):
            await watch.try_once()
    assert [record["message"] for record in records] == [
        "Stripe's events cannot be read, trying on: APIError: HTTP 500",
        "Stripe's events are read again",
    ]


@pytest.mark.criterion("O7")
async def test_a_stripe_that_cannot_be_read_is_trouble_until_it_can(account: StripeAccount, watch: StripeWatch) -> None:
    async def is_in_trouble() -> bool:
        return watch.trouble == "Stripe's events cannot be read: ChannelAwayError"

    async def is_well() -> bool:
        return watch.trouble is None

    watch._poll_seconds = 0.01
    account.faults.extend([Fault.BROKEN] * 1000)
    reading = asyncio.create_task(watch.run())
    try:
        await until(is_in_trouble)
        account.faults.clear()
        await until(is_well)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
