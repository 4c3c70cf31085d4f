"""Star subscriptions over months of virtual time."""

from datetime import timedelta

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import LabeledPrice, SuccessfulPayment, TransactionPartnerUser, Update

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.remote.transport import SandboxError
from sandbox.subscriptions import Subscription, SubscriptionState

MONTH = timedelta(days=30)


@pytest.fixture
async def subscription(bot: Bot, client: SandboxClient, ann: Person) -> Subscription:
    """Ann, with 1,000 Stars, has subscribed for 300; the first charge's update waits."""
    prices = [LabeledPrice(label="Pro", amount=300)]
    link = await bot.create_invoice_link("Pro", "Monthly", "auto-1", "XTR", prices, subscription_period=2_592_000)
    payment = await client.start_payment(ann.id, offer=link)
    assert payment.query_id is not None
    await bot.answer_pre_checkout_query(payment.query_id, ok=True)
    await bot.get_updates(offset=(await client.updates_waiting())[1].id)
    [subscription] = await client.subscriptions(ann.id)
    assert subscription.id == (await client.payment(payment.id)).charge_id
    return subscription


async def now(client: SandboxClient, subscription: Subscription) -> Subscription:
    [found] = [found for found in await client.subscriptions() if found.id == subscription.id]
    return found


async def waiting(client: SandboxClient) -> list[Update]:
    return [Update.model_validate(record.update) for record in await client.updates_waiting()]


async def payments_told(client: SandboxClient) -> list[SuccessfulPayment]:
    """Give the payments among the waiting updates."""
    messages = [update.message for update in await waiting(client)]
    return [message.successful_payment for message in messages if message and message.successful_payment]


async def states_told(client: SandboxClient) -> list[str]:
    """Give the states of the waiting subscription updates."""
    return [update.subscription.state for update in await waiting(client) if update.subscription]


async def pass_time(client: SandboxClient, time: timedelta) -> None:
    await client.move_clock(time.total_seconds())


async def test_the_first_charge_has_both_flags_and_a_date(
    bot: Bot, client: SandboxClient, subscription: Subscription
) -> None:
    [paid] = await payments_told(client)
    assert (paid.is_recurring, paid.is_first_recurring) == (True, True)
    assert paid.subscription_expiration_date == int(subscription.ends_at.timestamp())
    assert paid.telegram_payment_charge_id == subscription.id
    row = (await bot.get_star_transactions()).transactions[0]
    assert isinstance(row.source, TransactionPartnerUser)
    assert row.source.subscription_period is not None
    assert int(row.source.subscription_period) == 2_592_000


async def test_subscription_renews_without_pre_checkout_until_the_stars_are_gone(
    bot: Bot, client: SandboxClient, ann: Person, subscription: Subscription
) -> None:
    await pass_time(client, MONTH * 3 + timedelta(hours=1))
    charges = await client.charges(ann.id)
    assert [charge.charged_at for charge in charges[1:]] == [subscription.ends_at, subscription.ends_at + MONTH]
    assert len({charge.id for charge in charges}) == 3
    assert {(charge.payload, charge.subscription_id) for charge in charges} == {("auto-1", subscription.id)}
    assert (await now(client, subscription)).state is SubscriptionState.FAILED
    past = await client.updates_past()
    assert [record.kind for record in past].count("pre_checkout_query") == 1
    rows = (await bot.get_star_transactions()).transactions
    assert [row.date for row in rows] == [charge.charged_at.replace(microsecond=0) for charge in charges]
    assert (await client.person(ann.id)).balance_stars == 100


async def test_a_renewal_has_one_flag_and_the_next_date(client: SandboxClient, subscription: Subscription) -> None:
    await pass_time(client, MONTH + timedelta(hours=1))
    [paid] = await payments_told(client)
    assert (paid.is_recurring, paid.is_first_recurring, paid.invoice_payload) == (True, None, "auto-1")
    ends_at = subscription.ends_at + MONTH
    assert paid.subscription_expiration_date == int(ends_at.timestamp())
    assert (await now(client, subscription)).ends_at == ends_at


async def test_cancelled_and_taken_up_again_it_renews_and_no_money_moves_between(
    client: SandboxClient, subscription: Subscription
) -> None:
    await client.cancel_subscription(subscription.id)
    await client.take_up_again(subscription.id)
    assert await states_told(client) == ["canceled", "active"]
    assert len(await client.charges()) == 1
    await pass_time(client, MONTH + timedelta(hours=1))
    assert len(await client.charges()) == 2


async def test_cancelled_it_ends_with_its_period(client: SandboxClient, subscription: Subscription) -> None:
    await client.cancel_subscription(subscription.id)
    await pass_time(client, MONTH - timedelta(hours=1))
    assert (await now(client, subscription)).state is SubscriptionState.CANCELED
    await pass_time(client, timedelta(hours=2))
    assert (await now(client, subscription)).state is SubscriptionState.ENDED
    assert len(await client.charges()) == 1
    for change in (client.cancel_subscription, client.take_up_again, client.renew):
        with pytest.raises(SandboxError, match="ended"):
            await change(subscription.id)


async def test_a_failed_renewal_is_told_and_can_be_paid_late(
    client: SandboxClient, ann: Person, subscription: Subscription
) -> None:
    await client.fail_renewals(subscription.id)
    await pass_time(client, MONTH + timedelta(hours=1))
    [update] = [update for update in await waiting(client) if update.subscription]
    assert update.subscription is not None
    told = update.subscription
    assert (told.state, told.user.id, told.invoice_payload) == ("failed", ann.id, "auto-1")
    await client.renew(subscription.id)
    late = await now(client, subscription)
    assert late.state is SubscriptionState.ACTIVE
    assert late.ends_at > subscription.ends_at + MONTH
    assert (await client.charges())[-1].charged_at + MONTH == late.ends_at


async def test_an_early_renewal_begins_where_the_period_ends(client: SandboxClient, subscription: Subscription) -> None:
    await pass_time(client, timedelta(days=10))
    renewed = await client.renew(subscription.id)
    assert renewed.ends_at == subscription.ends_at + MONTH
    await pass_time(client, timedelta(days=21))
    assert len(await client.charges()) == 2


async def test_the_bot_ends_it_and_only_the_bot_allows_it_again(
    bot: Bot, client: SandboxClient, ann: Person, subscription: Subscription
) -> None:
    assert await bot.edit_user_star_subscription(ann.id, subscription.id, is_canceled=True)
    assert await states_told(client) == []
    with pytest.raises(SandboxError, match="only the bot"):
        await client.take_up_again(subscription.id)
    assert await bot.edit_user_star_subscription(ann.id, subscription.id, is_canceled=False)
    assert (await now(client, subscription)).state is SubscriptionState.CANCELED
    assert (await client.take_up_again(subscription.id)).state is SubscriptionState.ACTIVE
    await client.set_switches(announce_bot_cancel=True)
    await bot.edit_user_star_subscription(ann.id, subscription.id, is_canceled=True)
    assert (await states_told(client))[-1] == "canceled"


async def test_edit_of_a_subscription_takes_its_first_charge_only(
    bot: Bot, client: SandboxClient, ann: Person, ben: Person, subscription: Subscription
) -> None:
    await pass_time(client, MONTH + timedelta(hours=1))
    renewal = (await client.charges())[-1].id
    for user_id, charge_id, complaint in (
        (ann.id, renewal, "CHARGE_ID_INVALID"),
        (ann.id, "x", "CHARGE_ID_INVALID"),
        (ben.id, subscription.id, "USER_ID_INVALID"),
    ):
        with pytest.raises(TelegramBadRequest, match=complaint):
            await bot.edit_user_star_subscription(user_id, charge_id, is_canceled=True)
    await client.cancel_subscription(subscription.id)
    await pass_time(client, MONTH)
    with pytest.raises(TelegramBadRequest, match="SUBSCRIPTION_NOT_ACTIVE"):
        await bot.edit_user_star_subscription(ann.id, subscription.id, is_canceled=True)


async def test_a_refunded_charge_leaves_the_renewal_alone(
    bot: Bot, client: SandboxClient, ann: Person, subscription: Subscription
) -> None:
    await bot.refund_star_payment(ann.id, subscription.id)
    rows = (await bot.get_star_transactions()).transactions
    assert isinstance(rows[1].receiver, TransactionPartnerUser)
    assert rows[1].receiver.invoice_payload == "auto-1"
    await pass_time(client, MONTH + timedelta(hours=1))
    assert len(await client.charges()) == 2
