"""A charge by card that is recorded late learns its earlier history at Stripe."""

from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select

from db.tables import StripeEvent
from payments.methods import CARDS
from payments.notices import Notice
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.charge_updates import EVENT_TYPES
from payments.stripe.late_charges import LATE, LOOKED_DAYS
from payments.stripe.watch import DEEP_EVERY_SECONDS, StripeWatch
from tests.support.cards import card_charge
from tests.support.desk import Desk
from tests.support.money import ADMINS
from tests.support.stripe_account import Fault, StripeAccount

DAYS: Final = timedelta(hours=32)


async def record_late(desk: Desk, charge_id: str, late: timedelta = DAYS) -> None:
    """Put a charge on record that was made so long ago, as /retry of a quarantined update does; let the row settle."""
    await desk.take(card_charge(charge_id, at=desk.clock() - late))
    desk.clock.advance(seconds=DEEP_EVERY_SECONDS)


async def round_of(watch: StripeWatch, worker: Worker) -> None:
    """Let the watch try once, and the worker do what has become due."""
    await watch.try_once()
    assert watch.trouble is None
    while await worker.work_once():
        pass


@pytest.mark.criterion("R1")
async def test_refund_made_before_its_charge_was_recorded_ends_the_access(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id, other = account.charge(499), account.charge(499)
    account.give_back(charge_id)
    await round_of(watch, worker)
    desk.clock.advance(hours=30)
    account.give_back(other)
    await round_of(watch, worker)
    desk.clock.advance(hours=2)
    await record_late(desk, charge_id)
    assert await desk.holds()
    await round_of(watch, worker)
    assert not await desk.holds()


async def test_disputes_of_before_are_told_and_a_lost_one_ends_the_access(
    desk: Desk, account: StripeAccount, api: StripeApi, watch: StripeWatch, worker: Worker
) -> None:
    lost, opened, won = (account.charge(499) for _ in range(3))
    account.close_dispute(account.open_dispute(lost), "lost")
    dispute_id = account.open_dispute(opened)
    account.close_dispute(account.open_dispute(won), "won")
    account.events.clear()
    desk.clock.advance(hours=32)
    for charge_id in (lost, opened, won):
        await record_late(desk, charge_id)
    for each in (watch, StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost=None)):
        await round_of(each, worker)
    told = [facts["reason"] for notice, _, facts in await desk.notices() if notice is Notice.DISPUTED]
    assert told == [account.objects[dispute_id]["reason"]]
    async with desk.database.reading() as session:
        taken = await session.execute(
            select(StripeEvent.refund_of, StripeEvent.event_type).where(StripeEvent.refund_of.is_not(None))
        )
        assert taken.all() == [(f"stripe:{lost}", "stripe.dispute_lost")]


async def test_each_is_asked_about_once_in_a_process_and_what_is_not_late_or_not_there_holds_up_none(
    desk: Desk,
    account: StripeAccount,
    api: StripeApi,
    watch: StripeWatch,
    worker: Worker,
) -> None:
    in_time, first, second = (account.charge(499) for _ in range(3))
    desk.clock.advance(days=2)
    await record_late(desk, in_time, LATE - timedelta(seconds=1))
    for charge_id in (first, "ch_of_another_account", second):
        await record_late(desk, charge_id)

    async def asked(by: StripeWatch) -> list[str]:
        by._late.round_max = 2
        account.queries.clear()
        desk.clock.advance(seconds=DEEP_EVERY_SECONDS)
        await round_of(by, worker)
        return list(dict.fromkeys(query["charge"] for query in account.queries if "charge" in query))

    assert [await asked(watch) for _ in range(3)] == [[first], ["ch_of_another_account", second], []]
    again = StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost=None)
    assert await asked(again) == [first]
    desk.clock.advance(days=LOOKED_DAYS)
    assert await asked(StripeWatch(desk.database, api, desk.clock, ADMINS, lambda: None, lost=None)) == []


async def test_failed_look_at_a_late_charge_is_repeated_and_holds_up_no_other(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_ids = [account.charge(499) for _ in range(2)]
    for charge_id in charge_ids:
        account.give_back(charge_id)
    account.events.clear()
    desk.clock.advance(hours=32)
    for charge_id in charge_ids:
        await record_late(desk, charge_id)
    account.faults.extend([*[None] * len(EVENT_TYPES), Fault.STRANGE])
    await watch.try_once()
    assert watch.trouble == "Stripe's charges cannot be read: UnreadableMoneyError"
    assert await _given_back(desk, worker) == {charge_ids[1]}
    desk.clock.advance(seconds=DEEP_EVERY_SECONDS)
    await round_of(watch, worker)
    assert await _given_back(desk, worker) == set(charge_ids)
    assert not await desk.holds()


async def _given_back(desk: Desk, worker: Worker) -> set[str]:
    while await worker.work_once():
        pass
    async with desk.database.reading() as session:
        refunds = await session.scalars(select(StripeEvent.refund_of).where(StripeEvent.refund_of.is_not(None)))
    return {CARDS.provider_charge_id(charge) for charge in refunds if charge is not None}
