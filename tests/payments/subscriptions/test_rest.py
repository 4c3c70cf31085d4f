"""Changes that no subscription claims come to rest, and an idle round of the loop counts as nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from db.states import Renewal
from db.tables import Subscription
from payments.renewals import RenewalReason
from payments.subscriptions import listing
from payments.waiting import RetryResult
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER
from tests.support.renewals import Answering, editor, keeper
from tests.support.subscription_facts import MONTH, in_ledger, paid, rows

DAY = timedelta(days=1)


async def _two_that_are_one(desk: Desk, *, is_wanted: bool = False, is_refused: bool = False) -> None:
    """Let the ledger tell of two subscriptions, and the update that they are one."""
    await desk.take(paid(1))
    early = in_ledger(paid(2, at=START + 5 * DAY, charge_id="again-1"))
    desk.clock.now = START + 5 * DAY
    await desk.take(early)
    kept = {each.first_charge_id: each for each in await rows(desk)}
    assert kept.keys() == {"sub-1", "again-1"}
    if is_wanted:
        async with desk.database.transaction() as session:
            row = await session.get_one(Subscription, kept["again-1"].id)
            row.renewal_wanted, row.wanted_because, row.due_at = Renewal.CANCELED, RenewalReason.BUYER, desk.clock()
    if is_refused:
        await editor(desk, "CHARGE_ID_INVALID").apply_wanted_renewal(kept["again-1"].id)
    learned = replace(paid(2, at=START + 5 * DAY, ends_at=START + 2 * MONTH, charge_id="again-1"), update_id=20)
    await desk.take(learned)


@pytest.mark.criterion("N3")
async def test_a_row_that_no_charge_begins_any_more_comes_to_rest(desk: Desk) -> None:
    await _two_that_are_one(desk)
    kept = {each.first_charge_id: each for each in await rows(desk)}
    assert (kept["sub-1"].last_charge_id, kept["sub-1"].state) == ("again-1", "active")
    resting = kept["again-1"]
    assert (resting.state, resting.check_at, resting.due_at, resting.paid_until) == ("ended", None, None, None)
    loop = keeper(desk, remind_days=3)
    desk.clock.now = START + 4 * MONTH
    for _ in range(5):
        if not await loop.work_once():
            break
    assert await loop.work_once() == 0
    async with desk.database.reading() as session:
        assert list(await listing.of_user(session, resting.user_id)) == []


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("is_refused", [False, True])
async def test_wish_of_an_orphaned_row_moves_to_its_subscription(desk: Desk, *, is_refused: bool) -> None:
    await _two_that_are_one(desk, is_wanted=True, is_refused=is_refused)
    kept = {each.first_charge_id: each for each in await rows(desk)}
    assert (kept["sub-1"].renewal_wanted, kept["sub-1"].due_at) == (Renewal.CANCELED, desk.clock())
    assert (kept["again-1"].due_at, kept["again-1"].error) == (None, None)
    telegram = Answering()
    await keeper(desk, telegram).work_once()
    assert telegram.asked == [("sub-1", True)]
    assert await desk.retry("renewal:again-1") is RetryResult.NOT_WAITING


@pytest.mark.criterion("N3")
async def test_a_round_that_changes_nothing_counts_as_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.take(paid(1))
    loop = keeper(desk)
    desk.clock.now = START + MONTH + 4 * DAY

    async def idle(*_: object, **__: object) -> dict[str, Subscription]:
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(desk.settlement.subscriptions, "update_from_charges", idle)
        assert [await loop.work_once() for _ in range(3)] == [0, 0, 0]
    assert await loop.work_once() == 1
    assert await loop.work_once() == 0


@pytest.mark.criterion("N3", "S9")
async def test_a_renewal_that_another_process_is_at_counts_as_nothing(desk: Desk) -> None:
    await desk.take(paid(1))
    async with desk.database.transaction() as session:
        [kept] = await rows(desk)
        await listing.record_wish(session, kept.id, BUYER.telegram_id, Renewal.CANCELED, desk.clock())
        await session.execute(update(Subscription).values(claimed_until=desk.clock() + timedelta(seconds=30)))
    assert await editor(desk).apply_wanted_renewal(kept.id) is False
