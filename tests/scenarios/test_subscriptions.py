"""Months of subscriptions over the sandbox's clock: charges, access, and messages to the subscriber."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db.engine import Database
from db.migrate import migrate
from payments.sale.payload import PayloadSigner
from sandbox.checkout import PaymentState
from sandbox.subscriptions import SubscriptionState as AtTelegram
from tests.support.chats import Chats
from tests.support.subscribers import A_MOMENT, MONTH, Subscriber


@pytest.fixture
def ann(chats: Chats) -> Subscriber:
    return Subscriber(chats, chats.people.buyer)


@pytest.mark.criterion("N3", "I2", "L1")
async def test_three_renewals_then_cancelled_in_the_chat_and_ended(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.told()
    for number in (1, 2, 3):
        await ann.pass_until(begun.ends_at + (number - 1) * MONTH - timedelta(days=2))
        [reminder] = await ann.told()
        assert "Premium, renewed monthly renews on" in reminder
        await ann.pass_until(begun.ends_at + (number - 1) * MONTH + A_MOMENT)
        [renewed] = await ann.told()
        assert "is renewed. You paid 150 ⭐" in renewed
        assert await ann.has_access(at=begun.ends_at + number * MONTH - A_MOMENT)
        assert not await ann.has_access(at=begun.ends_at + number * MONTH + timedelta(hours=1))
    row = await ann.row()
    charges = await ann.client.charges(ann.person.id)
    assert len(charges) == 4
    assert (row.first_charge_id, row.last_charge_id, row.state) == (first, charges[-1].id, "active")

    status = await ann.chats.answer(ann.person, "/status")
    assert "renews on" in status.text()
    await ann.chats.press(ann.person, status, text="Cancel Premium, renewed monthly")
    question = (await ann.chats.said(ann.person.id))[-1]
    assert "Cancel Premium, renewed monthly? No more Stars are taken" in question.text()
    assert (await ann.at_telegram()).state is AtTelegram.ACTIVE, "the question comes first"
    await ann.chats.press(ann.person, question, text="Yes, cancel it")
    await ann.told()
    await ann.chats.settle()
    assert ((await ann.at_telegram()).state, (await ann.row()).state) == (AtTelegram.CANCELED, "canceled")
    [cancelled] = await ann.told()
    assert "Premium, renewed monthly is cancelled" in cancelled
    assert "You have access until" in cancelled

    end = begun.ends_at + 3 * MONTH
    await ann.pass_until(end - A_MOMENT)
    assert await ann.has_access()
    assert await ann.told() == []
    await ann.pass_until(end + timedelta(hours=2))
    assert not await ann.has_access()
    assert await ann.told() == ["Premium, renewed monthly has ended. See what you have: /status"]
    assert (await ann.row()).state == "ended"
    assert len(await ann.client.charges(ann.person.id)) == 4


@pytest.mark.criterion("N3")
async def test_cancelled_and_taken_up_again_at_telegram_gives_no_free_day(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.pass_time(timedelta(days=10))
    await ann.told()
    await ann.client.cancel_subscription(first)
    await ann.chats.settle()
    [cancelled] = await ann.told()
    assert "You cancelled Premium, renewed monthly: no more Stars are taken for it. You have access until" in cancelled
    assert (await ann.row()).state == "canceled"
    await ann.client.take_up_again(first)
    await ann.chats.settle()
    [again] = await ann.told()
    assert "goes on. Telegram takes 150 ⭐ on" in again
    row = await ann.row()
    assert (row.state, row.paid_until) == ("active", begun.ends_at.replace(microsecond=0))
    assert not await ann.has_access(at=begun.ends_at + timedelta(hours=1))
    await ann.pass_until(begun.ends_at + A_MOMENT)
    assert await ann.has_access(at=begun.ends_at + MONTH - A_MOMENT)
    assert not await ann.has_access(at=begun.ends_at + MONTH + timedelta(hours=1))
    assert len(await ann.client.charges(ann.person.id)) == 2


@pytest.mark.criterion("N3")
async def test_subscription_cancelled_by_the_bot_is_resumed_in_two_steps(ann: Subscriber) -> None:
    first = await ann.subscribe()
    await _cancel_in_chat(ann)
    with pytest.raises(Exception, match="only the bot"):
        await ann.client.take_up_again(first)
    await ann.told()
    status = await ann.chats.answer(ann.person, "/status")
    assert "is cancelled and does not renew; paid until" in status.text()
    await ann.chats.press(ann.person, status, text="Take up Premium, renewed monthly again")
    await ann.chats.settle()
    assert "That last step is yours" in (await ann.told())[-1]
    assert (await ann.row()).state == "canceled", "nothing is taken up before the subscriber has done it"
    await ann.client.take_up_again(first)
    await ann.chats.settle()
    assert (await ann.row()).state == "active"


async def _cancel_in_chat(ann: Subscriber) -> None:
    await ann.press("Cancel Premium, renewed monthly")
    await ann.press("Yes, cancel it")
    await ann.chats.settle()


@pytest.mark.criterion("N3")
async def test_a_failed_renewal_has_its_grace_and_can_be_paid_in_it(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.fail_renewals(first)
    await ann.pass_until(begun.ends_at + A_MOMENT)
    failed = (await ann.told())[-1]
    assert "could not be renewed: Telegram could not take 150 ⭐" in failed
    assert (await ann.row()).state == "failed"
    await ann.pass_until(begun.ends_at + timedelta(hours=20))
    assert await ann.has_access()
    await ann.client.renew(first)
    await ann.chats.settle()
    assert "is renewed" in (await ann.told())[-1]
    row = await ann.row()
    assert (row.state, row.first_charge_id) == ("active", first)
    end = (await ann.at_telegram()).ends_at
    assert await ann.has_access(at=end - A_MOMENT)
    assert not await ann.has_access(at=end + timedelta(hours=1))


@pytest.mark.criterion("N3")
async def test_a_failed_renewal_that_is_never_paid_ends_after_its_grace_and_is_told_once(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.fail_renewals(first, 3)
    await ann.pass_until(begun.ends_at + A_MOMENT)
    await ann.told()
    await ann.client.renew(first)
    await ann.chats.settle()
    assert await ann.told() == [], "a second failure of the same period is no news"
    await ann.pass_until(begun.ends_at + timedelta(hours=24))
    assert await ann.has_access()
    await ann.pass_until(begun.ends_at + timedelta(hours=26))
    assert not await ann.has_access()
    await ann.pass_time(timedelta(days=10))
    assert await ann.told() == ["Premium, renewed monthly has ended. See what you have: /status"]
    ended = (await ann.chats.said(ann.person.id))[-1]
    await ann.chats.press(ann.person, ended, text="Buy Premium, renewed monthly again")
    assert "150 ⭐ every 30 days" in (await ann.told())[-1]


@pytest.mark.criterion("N3")
async def test_another_subscription_takes_the_place_of_one_that_failed(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.fail_renewals(first)
    await ann.pass_until(begun.ends_at + A_MOMENT)
    await ann.subscribe()
    at_telegram = {each.id: each.state for each in await ann.client.subscriptions(ann.person.id)}
    assert len(at_telegram) == 2
    assert at_telegram.pop(first) in {AtTelegram.CANCELED, AtTelegram.ENDED}
    assert list(at_telegram.values()) == [AtTelegram.ACTIVE]
    assert any("takes the place of" in text for text in await ann.told())


@pytest.mark.criterion("N3", "L2")
async def test_a_second_subscription_to_the_same_is_declined_before_it_is_paid(ann: Subscriber) -> None:
    links = [await ann.link(), await ann.link()]
    assert (await ann.pay(links[0])).state is PaymentState.PAID
    for link in links:
        payment = await ann.pay(link)
        assert payment.state is PaymentState.DECLINED
        assert payment.error_message is not None
        assert "A subscription of yours opens this already" in payment.error_message
    [said] = await ann.chats.say(ann.person, "/buy auto")
    assert "A subscription of yours opens this already" in said.text()
    assert len(await ann.client.charges(ann.person.id)) == 1


@pytest.mark.criterion("N3", "S2")
async def test_anothers_link_is_declined_in_words(ann: Subscriber, chats: Chats) -> None:
    bob = Subscriber(chats, chats.people.other)
    payment = await bob.pay(await ann.link())
    assert payment.state is PaymentState.DECLINED
    assert payment.error_message is not None
    assert "made for another person" in payment.error_message


@pytest.mark.criterion("N3", "N2", "R4")
async def test_the_refund_of_the_second_of_three_charges_revokes_that_one_and_ends_the_renewal(
    ann: Subscriber,
) -> None:
    await ann.subscribe()
    begun = await ann.at_telegram()
    for number in (0, 1):
        await ann.pass_until(begun.ends_at + number * MONTH + A_MOMENT)
    charges = await ann.client.charges(ann.person.id)
    admin = ann.chats.people.admin
    await ann.told()
    await ann.chats.answer(admin, f"/refund {charges[1].id} sorry")
    await ann.chats.settle()
    assert await ann.has_access(), "the third is paid"
    assert await ann.has_access(at=begun.ends_at + 2 * MONTH - A_MOMENT)
    assert not await ann.has_access(at=begun.ends_at + 15 * timedelta(days=1))
    assert ((await ann.at_telegram()).state, (await ann.row()).state) == (AtTelegram.CANCELED, "canceled")
    refunded, ended = await ann.told()
    assert "was given back" in refunded
    assert "does not renew any more" in ended


@pytest.mark.criterion("N3")
async def test_days_of_a_plan_bought_meanwhile_wait_until_the_subscription_ends(ann: Subscriber) -> None:
    await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.pass_time(timedelta(days=3))
    await ann.chats.buy(ann.person, "month")
    await _cancel_in_chat(ann)
    assert await ann.has_access(at=begun.ends_at + MONTH)
    assert not await ann.has_access(at=begun.ends_at + MONTH + timedelta(hours=2))


@pytest.mark.criterion("N3")
async def test_buying_for_life_ends_the_renewal(ann: Subscriber) -> None:
    await ann.subscribe()
    await ann.told()
    await ann.chats.buy(ann.person, "life")
    assert (await ann.at_telegram()).state is AtTelegram.CANCELED
    assert any("is yours for ever now, so it does not renew any more" in text for text in await ann.told())
    status = await ann.chats.answer(ann.person, "/status")
    assert status.buttons() == [], "nobody takes up again what would be paid for nothing"
    await ann.told()
    await ann.pass_time(MONTH + timedelta(hours=2))
    assert ((await ann.row()).state, await ann.told()) == ("ended", [])


@pytest.mark.criterion("N3")
async def test_before_bought_days_end_there_is_a_word_and_a_button(ann: Subscriber) -> None:
    await ann.chats.buy(ann.person, "month")
    await ann.told()
    await ann.pass_time(timedelta(days=26))
    assert await ann.told() == []
    await ann.pass_time(timedelta(days=2))
    [reminder] = await ann.told()
    assert "What you bought with Premium, 30 days ends on" in reminder
    await ann.pass_time(timedelta(days=1))
    assert await ann.told() == [], "once"
    message = (await ann.chats.said(ann.person.id))[-1]
    await ann.chats.press(ann.person, message, text="Buy Premium, 30 days again")
    invoice = (await ann.chats.said(ann.person.id))[-1]
    assert invoice.message["invoice"]["total_amount"] == 200


@pytest.mark.criterion("N3", "C3")
async def test_a_renewal_that_comes_twice_is_one(ann: Subscriber) -> None:
    await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.double_updates(kind="successful_payment")
    await ann.told()
    await ann.pass_until(begun.ends_at + A_MOMENT)
    assert len(await ann.told()) == 1
    assert not await ann.has_access(at=begun.ends_at + MONTH + timedelta(hours=1))


@pytest.mark.criterion("N3")
async def test_a_renewal_whose_update_is_lost_is_found_in_the_ledger(ann: Subscriber) -> None:
    first = await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.lose_updates(kind="successful_payment")
    await ann.pass_until(begun.ends_at + timedelta(hours=2))
    assert not await ann.has_access()
    await ann.told()
    await ann.chats.reconcile()
    assert await ann.has_access(at=begun.ends_at + MONTH - A_MOMENT)
    row = await ann.row()
    assert (row.first_charge_id, row.state) == (first, "active")
    assert row.last_charge_id != first
    assert len(await ann.told()) == 1
    await ann.pass_until(begun.ends_at + MONTH + A_MOMENT)
    assert await ann.has_access(at=begun.ends_at + 2 * MONTH - A_MOMENT)
    assert (await ann.row()).first_charge_id == first


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("ledger_first", [True, False])
async def test_a_renewal_that_ledger_and_update_tell_is_one_in_both_orders(
    ann: Subscriber, *, ledger_first: bool
) -> None:
    await ann.subscribe()
    begun = await ann.at_telegram()
    await ann.client.move_clock((begun.ends_at + A_MOMENT - ann.chats.clock()).total_seconds())
    steps = [ann.chats.reconcile, ann.chats.settle]
    for step in steps if ledger_first else reversed(steps):
        await step()
    row, renewed = await ann.row(), await ann.at_telegram()
    assert (row.state, row.current_period_end) == ("active", renewed.ends_at.replace(microsecond=0))
    assert not await ann.has_access(at=renewed.ends_at + timedelta(hours=1))
    assert len([text for text in await ann.told() if "You paid 150" in text]) == 2


@pytest.mark.criterion("N3")
async def test_a_token_that_is_replaced_leaves_running_subscriptions_alone(ann: Subscriber) -> None:
    old_link = await ann.link()
    await ann.subscribe()
    begun = await ann.at_telegram()
    later = Subscriber(ann.chats.signed_by(PayloadSigner("1000001:the-token-that-came-after")), ann.person)
    await later.pass_until(begun.ends_at + A_MOMENT)
    assert "is renewed" in (await later.told())[-1]
    assert ((await later.row()).state, (await later.row()).price_stars) == ("active", 150)
    await later.press("Cancel Premium, renewed monthly")
    await later.press("Yes, cancel it")
    await later.chats.settle()
    assert (await later.at_telegram()).state is AtTelegram.CANCELED
    assert (await later.pay(old_link)).state is PaymentState.DECLINED


@pytest.mark.criterion("N3")
async def test_from_the_ledger_alone_subscriptions_are_the_same_and_nobody_is_told(
    ann: Subscriber, empty_sqlite_url: str, open_database: Callable[[str], Database]
) -> None:
    await ann.subscribe()
    begun = await ann.at_telegram()
    for number in (0, 1):
        await ann.pass_until(begun.ends_at + number * MONTH + A_MOMENT)
    charges = await ann.client.charges(ann.person.id)
    await ann.client.refund_elsewhere(charges[1].id)
    await ann.pass_time(timedelta(days=1))
    before = await ann.row()
    told, edits = len(await ann.chats.said(ann.person.id)), len(await ann.client.calls("editUserStarSubscription"))
    database = open_database(empty_sqlite_url)
    await migrate(database, 1)
    anew = Subscriber(ann.chats.on(database), ann.person)
    await anew.chats.rebuild()
    await anew.chats.settle()
    after = await anew.row()
    for column in ("first_charge_id", "last_charge_id", "plan", "payload", "price_stars"):
        assert getattr(after, column) == getattr(before, column)
    assert (after.current_period_end, after.paid_until) == (before.current_period_end, before.paid_until)
    assert (after.state, after.renewal_wanted) == ("active", None), "a ledger tells neither states nor what was wanted"
    assert await anew.has_access()
    assert not await anew.has_access(at=charges[1].charged_at + MONTH / 2)
    assert len(await ann.chats.said(ann.person.id)) == told
    assert len(await ann.client.calls("editUserStarSubscription")) == edits
