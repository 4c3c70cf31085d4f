"""The wanted renewal and Telegram's answers: success only where our own rows agree."""

from dataclasses import replace
from datetime import timedelta

import pytest
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods import EditUserStarSubscription
from sqlalchemy import update

from db.states import Renewal
from db.tables import Subscription
from payments.notices import Notice
from payments.renewals import RenewalReason, record_wanted_renewal
from payments.subscriptions import listing
from payments.waiting import list_pending
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER
from tests.support.renewals import Answering, editor
from tests.support.subscription_facts import MONTH, follow, give_up, in_ledger, paid, row, rows, said, tell

DAY = timedelta(days=1)
NOT_ACTIVE = "SUBSCRIPTION_NOT_ACTIVE"


async def wish(desk: Desk, subscription_id: str, renewal: Renewal = Renewal.CANCELED) -> None:
    async with desk.database.transaction() as session:
        assert await listing.record_wish(session, subscription_id, BUYER.telegram_id, renewal, desk.clock())


async def pending(desk: Desk) -> int:
    async with desk.database.reading() as session:
        return (await list_pending(session)).count


async def told(desk: Desk) -> set[Notice]:
    return {notice for notice, _ in await desk.told()}


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("after", [timedelta(hours=2), 10 * DAY, 100 * DAY])
async def test_not_active_of_a_subscription_that_is_paid_for_is_no_success(desk: Desk, after: timedelta) -> None:
    await desk.take(paid(1))
    await tell(desk, said("canceled", 11))
    desk.clock.now = START + MONTH + after
    await follow(desk)
    # The same link again; its update is lost, the ledger brings it: it is another subscription at Telegram.
    await desk.take(in_ledger(paid(1, at=desk.clock.now, charge_id="again-1")))
    kept = [each for each in await rows(desk) if each.state == "active"]
    await wish(desk, kept[0].id)
    await editor(desk, NOT_ACTIVE).apply_wanted_renewal(kept[0].id)
    assert (kept[0].first_charge_id, Notice.RENEWAL_DONE in await told(desk)) == ("again-1", False)
    assert (Notice.RENEWAL_STUCK, ADMIN_CHAT_ID) in await desk.told()
    assert await pending(desk) == 1


@pytest.mark.criterion("N3")
async def test_same_link_after_a_refund_is_another_subscription(desk: Desk) -> None:
    await desk.take(in_ledger(paid(1)))
    desk.clock.now = START + DAY
    await desk.request_refund("sub-1")
    await desk.settle("refund:sub-1", confirmed=True)
    desk.clock.now = START + 20 * DAY
    await desk.take(in_ledger(paid(1, at=desk.clock.now, charge_id="again-1")))
    assert [each.first_charge_id for each in await rows(desk)] == ["again-1", "sub-1"]


@pytest.mark.criterion("N3")
async def test_a_refund_that_came_later_makes_no_renewal_another_subscription(desk: Desk) -> None:
    await desk.take(in_ledger(paid(1)))
    await desk.take(in_ledger(paid(2)))
    desk.clock.now = START + MONTH + DAY
    await desk.request_refund("sub-1")
    await desk.settle("refund:sub-1", confirmed=True)
    assert [each.first_charge_id for each in await rows(desk)] == ["sub-1"]


@pytest.mark.criterion("N3")
async def test_ledger_charge_does_not_renew_a_subscription_that_failed_long_ago(desk: Desk) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(minutes=1)
    await tell(desk, said("failed", 15))
    desk.clock.now = START + MONTH + 3 * DAY
    await desk.take(in_ledger(paid(2, at=desk.clock())))
    assert [each.first_charge_id for each in await rows(desk)] == ["sub-1"], "tried again"
    desk.clock.now = START + 2 * MONTH + 4 * DAY
    await tell(desk, said("failed", 25))
    desk.clock.now = START + 4 * MONTH
    await desk.take(in_ledger(paid(1, at=desk.clock(), charge_id="again-1")))
    assert [each.first_charge_id for each in await rows(desk)] == ["again-1", "sub-1"]


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("first", [NOT_ACTIVE, "CHARGE_ID_INVALID"])
async def test_subscription_unknown_by_its_first_charge_is_edited_by_another(desk: Desk, first: str) -> None:
    await desk.take(in_ledger(paid(1)))
    desk.clock.now = START + MONTH + 40 * DAY
    # Nothing tells that the first one had been cancelled: a rebuild has lost that.
    await desk.take(in_ledger(paid(3, at=desk.clock(), charge_id="sub-9")))
    kept = await row(desk)
    await wish(desk, kept.id)
    telegram = Answering({"sub-1": first})
    await editor(desk, telegram).apply_wanted_renewal(kept.id)
    assert telegram.asked == [("sub-1", True), ("sub-9", True)]
    assert ((await row(desk)).state, Notice.RENEWAL_DONE in await told(desk)) == ("canceled", True)


@pytest.mark.criterion("N3")
async def test_the_ids_that_are_tried_are_bounded_and_a_refusal_of_another_kind_ends_it(desk: Desk) -> None:
    for number in range(1, 8):
        desk.clock.now = START + 2 * MONTH * (number - 1)
        await desk.take(in_ledger(paid(number, at=desk.clock())))
    kept = await row(desk)
    await wish(desk, kept.id)
    telegram = Answering(NOT_ACTIVE)
    await editor(desk, telegram).apply_wanted_renewal(kept.id)
    assert [charge_id for charge_id, _ in telegram.asked] == ["sub-1", "sub-7", "sub-6"]
    await desk.retry(f"renewal:{kept.first_charge_id}")
    telegram = Answering("USER_ID_INVALID")
    await editor(desk, telegram).apply_wanted_renewal(kept.id)
    assert len(telegram.asked) == 1
    assert (await row(desk)).error == "Bad Request: USER_ID_INVALID"


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("state", ["canceled", "past its end"])
async def test_not_active_is_success_where_our_own_row_agrees(desk: Desk, state: str) -> None:
    await desk.take(paid(1))
    kept = await row(desk)
    await wish(desk, kept.id)
    if state == "canceled":
        await tell(desk, said("canceled", 11))
    else:
        desk.clock.now = START + MONTH + DAY
    await editor(desk, NOT_ACTIVE).apply_wanted_renewal(kept.id)
    kept = await row(desk)
    assert (kept.due_at, kept.error, await pending(desk)) == (None, None, 0)


@pytest.mark.criterion("N3", "E5")
@pytest.mark.parametrize("words", ["CHARGE_ID_INVALID", "USER_ID_INVALID"])
async def test_refunded_failed_subscription_that_cannot_be_ended_is_stuck(desk: Desk, words: str) -> None:
    await desk.take(paid(1))
    desk.clock.now = START + MONTH + timedelta(minutes=1)
    await tell(desk, said("failed", 15))
    await desk.request_refund("sub-1")
    await desk.settle("refund:sub-1", confirmed=True)
    assert (await row(desk)).state == "ended"
    await editor(desk, words).apply_wanted_renewal((await row(desk)).id)
    assert (Notice.RENEWAL_STUCK in await told(desk), await pending(desk)) == (True, 1)
    desk.clock.now = START + MONTH + 8 * DAY
    await follow(desk)
    assert await pending(desk) == 0, "Telegram has given up by now"


@pytest.mark.criterion("N3", "R4")
@pytest.mark.parametrize("payload", ["shop2:monthly:abc", "sl2:auto:sub:150:XTR:5001:aa:bb"])
@pytest.mark.parametrize("known", ["charge first", "refund first", "ledger"])
async def test_a_refund_of_a_subscription_that_is_not_read_here_ends_its_renewal(
    desk: Desk, payload: str, known: str
) -> None:
    charged = replace(paid(1), payload=payload)
    if known == "refund first":
        await desk.record(charged)
    else:
        await desk.take(in_ledger(charged) if known == "ledger" else charged)
    await desk.request_refund("sub-1", reply_chat_id=ADMIN_CHAT_ID)
    await desk.settle("refund:sub-1", confirmed=True)
    await desk.settle("sub-1")
    assert Notice.REFUND_DONE in await told(desk)
    assert [each.renewal_wanted for each in await rows(desk)] == [Renewal.CANCELED]
    [kept] = await rows(desk)
    telegram = Answering()
    await editor(desk, telegram).apply_wanted_renewal(kept.id)
    assert telegram.asked == [("sub-1", True)]
    async with desk.database.reading() as session:
        assert list(await listing.of_user(session, kept.user_id)) == [], "it is no subscription of this shop"


@pytest.mark.criterion("N3", "R4")
async def test_a_refund_of_what_is_no_subscription_begins_none(desk: Desk) -> None:
    await desk.take(replace(paid(1), payload="shop2:once:abc", is_recurring=False, is_first_recurring=False))
    await desk.request_refund("sub-1")
    await desk.settle("refund:sub-1", confirmed=True)
    assert await rows(desk) == []


@pytest.mark.criterion("N3")
async def test_wish_made_during_the_call_stays_wanted(desk: Desk) -> None:
    await desk.take(paid(1))
    kept = await row(desk)

    async def change_ones_mind() -> None:
        await tell(desk, said("canceled", 11))
        await wish(desk, kept.id, Renewal.ALLOWED)

    await wish(desk, kept.id)
    await editor(desk, Answering(during=change_ones_mind)).apply_wanted_renewal(kept.id)
    now = await row(desk)
    assert (now.renewal_wanted, now.due_at) == (Renewal.ALLOWED, desk.clock())


@pytest.mark.criterion("N3")
async def test_new_wish_has_all_its_attempts(desk: Desk) -> None:
    await desk.take(paid(1))
    await give_up(desk)
    async with desk.database.transaction() as session:
        await session.execute(update(Subscription).values(attempts=48))
        kept = await session.get_one(Subscription, (await row(desk)).id)
        record_wanted_renewal(kept, Renewal.CANCELED, RenewalReason.REFUND, desk.clock())

    async def cut() -> None:
        method = EditUserStarSubscription(user_id=1, telegram_payment_charge_id="x", is_canceled=True)
        raise TelegramNetworkError(method, "away")

    await editor(desk, Answering(during=cut)).apply_wanted_renewal(kept.id)
    now = await row(desk)
    assert now.attempts == 1
    assert now.due_at is not None
