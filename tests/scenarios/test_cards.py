"""Stars and cards beside each other: one buyer, one history, and each charge on its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from db.engine import Database
from payments.stripe.api import StripeApi
from payments.stripe.lost_payments import LOST_HOURS, LostPayments
from payments.stripe.watch import StripeWatch
from sandbox.checkout import PaymentState
from sandbox.messages import ChatMessage
from sandbox.settings import STRIPE_KEY, Settings
from sandbox.stripe.account import DECLINED_CARD
from tests.support.chats import Chats, running_chats
from tests.support.localstripe import LocalStripe, running_localstripe
from tests.support.money import CATALOG
from tests.support.stripe_account import StripeAccount, running_stripe_account


@dataclass
class Shop:
    """The chats of a shop that sells for Stars and by card, its Stripe account, and the loop that reads it."""

    chats: Chats
    account: StripeAccount
    watch: StripeWatch

    async def read_stripe(self) -> None:
        """Read what happened at Stripe, and do all that is due."""
        await self.watch.try_once()
        assert self.watch.trouble is None
        await self.chats.settle()

    async def by_card(self) -> ChatMessage:
        """Ask for a month, and press the button that brings the invoice by card; return that."""
        buyer = self.chats.people.buyer
        invoice = await self.chats.answer(buyer, "/buy month")
        await self.chats.press(buyer, invoice, text="By card: 4.99 USD")
        return (await self.chats.said(buyer.id))[-1]


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    async with running_stripe_account(lambda: datetime.now(UTC)) as account:
        account.key = STRIPE_KEY
        api = StripeApi(STRIPE_KEY, account.url, session=None)
        async with running_chats(database, stripe=api, settings=Settings(stripe_url=account.url)) as chats:
            account.clock = chats.clock
            lost = LostPayments(database, api, CATALOG, chats.signer, chats.clock, chats.admins, on_owed=lambda: None)
            watch = StripeWatch(database, api, chats.clock, chats.admins, on_recorded=lambda: None, lost=lost)
            yield Shop(chats, account, watch)
        await api.close()


@pytest.mark.criterion("I4", "I5", "I6", "N4", "N5")
async def test_a_month_by_stars_and_one_by_card_then_the_card_month_given_back_at_stripe(shop: Shop) -> None:
    chats, buyer = shop.chats, shop.chats.people.buyer
    begun = chats.clock()
    stars_id = await chats.buy(buyer, "month")
    invoice = await shop.by_card()
    assert (invoice.message["invoice"]["currency"], invoice.message["invoice"]["total_amount"]) == ("USD", 499)
    payment = await chats.pay(buyer, invoice)
    assert payment.state is PaymentState.PAID
    [charge] = await chats.client.card_charges(buyer.id)
    assert shop.account.objects[charge.provider_id]["amount"] == 499
    assert "60 days left" in (await chats.answer(buyer, "/status")).text()

    history = (await chats.answer(buyer, "/history")).text()
    assert "Premium, 30 days, 200 ⭐: done" in history
    assert "Premium, 30 days, 4.99 USD: done" in history
    assert stars_id in history
    assert f"stripe:{charge.provider_id}" in history

    shop.account.give_back(charge.provider_id)
    await shop.read_stripe()
    assert "Your payment of 4.99 USD was given back" in (await chats.said(buyer.id))[-1].text()
    assert "Given back, but not by this shop: 4.99 USD" in (await chats.said(chats.people.desk.id))[-1].text()
    assert "30 days left" in (await chats.answer(buyer, "/status")).text()
    history = (await chats.answer(buyer, "/history")).text()
    assert "Refund of 4.99 USD: done" in history
    assert "Premium, 30 days, 4.99 USD: given back" in history
    assert "Premium, 30 days, 200 ⭐: done" in history
    [stars_charge] = await chats.client.charges(buyer.id)
    assert stars_charge.refunded_at is None
    assert chats.clock() - begun < timedelta(minutes=5), "the sandbox's clock was not moved"


@pytest.mark.criterion("R6")
async def test_an_admin_gives_a_card_payment_back_in_the_chat(shop: Shop) -> None:
    chats, buyer, admin = shop.chats, shop.chats.people.buyer, shop.chats.people.admin
    await chats.pay(buyer, await shop.by_card())
    [charge] = await chats.client.card_charges(buyer.id)
    asked = await chats.answer(admin, f"/refund stripe:{charge.provider_id} wrong plan")
    assert "The refund of 4.99 USD" in asked.text()
    await chats.settle()
    assert shop.account.refunded(charge.provider_id) == 499
    assert "was given back" in (await chats.said(buyer.id))[-1].text()
    assert "4.99 USD" in (await chats.said(admin.id))[-1].text()
    # Stripe's own word of it is the same refund.
    before = [each.text() for each in await chats.said(buyer.id)]
    await shop.read_stripe()
    assert [each.text() for each in await chats.said(buyer.id)] == before
    again = await chats.answer(admin, f"/refund stripe:{charge.provider_id}")
    assert "given back before" in again.text() or "already" in again.text()


async def test_a_payment_whose_update_telegram_dropped_is_told_to_the_admins_and_a_declined_card_is_not(
    shop: Shop,
) -> None:
    chats, buyer = shop.chats, shop.chats.people.buyer
    invoice = await shop.by_card()
    assert (await chats.pay(buyer, invoice, DECLINED_CARD)).state is PaymentState.CARD_DECLINED
    await chats.client.lose_updates(kind="successful_payment")
    assert (await chats.pay(buyer, invoice)).state is PaymentState.PAID
    [charge] = await chats.client.card_charges(buyer.id)
    await chats.client.move_clock(LOST_HOURS * 3600)
    await shop.read_stripe()
    [told] = [each.text() for each in await chats.said(chats.people.desk.id) if "not on record here" in each.text()]
    assert f'starledger grant {buyer.id} premium --days 30 --reason "paid by card, {charge.provider_id}"' in told
    assert "If you were charged and it is not listed here" in (await chats.answer(buyer, "/paysupport")).text()


@pytest.mark.criterion("R6", "R8")
async def test_a_part_in_the_dashboard_crosses_a_refund_of_the_whole_and_a_part_comes_back(shop: Shop) -> None:
    chats, buyer, admin = shop.chats, shop.chats.people.buyer, shop.chats.people.admin
    await chats.pay(buyer, await shop.by_card())
    [charge] = await chats.client.card_charges(buyer.id)
    charge_id = f"stripe:{charge.provider_id}"
    asked = await chats.answer(admin, f"/refund {charge_id} wrong plan")
    assert "The refund of 4.99 USD" in asked.text()
    part = shop.account.give_back(charge.provider_id, 100)
    await chats.settle()
    assert shop.account.refunded(charge.provider_id) == 499
    assert (await chats.said(admin.id))[-1].text().startswith("↩️ 3.99 USD went back to")
    history = (await chats.answer(buyer, "/history")).text()
    assert "Refund of 4.99 USD: not made, the money was given back another way" in history
    assert "Refund of 3.99 USD: done" in history
    assert "Premium, 30 days, 4.99 USD: given back" in history
    waits = await chats.answer(admin, "/pending")
    assert "Nothing waits" in waits.text()

    shop.account.fail_refund(part)
    await shop.read_stripe()
    told = (await chats.said(chats.people.desk.id))[-1].text()
    assert "A refund did not reach the buyer: 1.00 USD" in told
    assert f"/refund {charge_id}" in told
    history = (await chats.answer(buyer, "/history")).text()
    assert "Refund of 1.00 USD: came back" in history
    assert "Reason: wrong plan" in history
    assert "expired_or_canceled_card" not in history
    assert "expired_or_canceled_card" in (await chats.answer(admin, f"/history {buyer.id}")).text()
    assert "Premium, 30 days, 4.99 USD: given back, but not all of it arrived" in history
    assert "nothing" in (await chats.answer(buyer, "/status")).text()
    again = await chats.answer(admin, f"/refund {charge_id}")
    assert "The refund of 1.00 USD" in again.text()
    await chats.settle()
    assert "1.00 USD of your payment was given back" in (await chats.said(buyer.id))[-1].text()
    assert shop.account.refunded(charge.provider_id) == 499
    refused = await chats.answer(admin, f"/refund {charge_id}")
    assert "was given back before" in refused.text()


@pytest.mark.criterion("R6", "O8")
async def test_a_lost_dispute_is_in_the_history_as_what_it_is_and_its_reason_is_for_admins(shop: Shop) -> None:
    chats, buyer, admin = shop.chats, shop.chats.people.buyer, shop.chats.people.admin
    await chats.pay(buyer, await shop.by_card())
    [charge] = await chats.client.card_charges(buyer.id)
    shop.account.close_dispute(shop.account.open_dispute(charge.provider_id), "lost")
    await shop.read_stripe()
    assert "Your bank took back 4.99 USD of your payment" in (await chats.said(buyer.id))[-1].text()
    _, entry, _ = (await chats.answer(buyer, "/history")).text().split("\n\n")
    told = ["Taken back by the bank, 4.99 USD: done", f"stripe:{charge.provider_id}"]
    assert entry.splitlines()[1:] == told
    _, entry, _ = (await chats.answer(admin, f"/history {buyer.id}")).text().split("\n\n")
    assert entry.splitlines()[1:] == [*told, "Reason: dispute lost: fraudulent", "Asked for by stripe"]


@pytest.mark.criterion("R8")
async def test_an_admin_who_asks_for_what_went_back_meanwhile_is_told_that_nothing_was_left(shop: Shop) -> None:
    chats, buyer, admin = shop.chats, shop.chats.people.buyer, shop.chats.people.admin
    await chats.pay(buyer, await shop.by_card())
    [charge] = await chats.client.card_charges(buyer.id)
    await chats.answer(admin, f"/refund stripe:{charge.provider_id}")
    shop.account.give_back(charge.provider_id, 100)
    shop.account.give_back(charge.provider_id)
    await chats.settle()
    told = (await chats.said(admin.id))[-1].text()
    assert "The refund of 4.99 USD to" in told
    assert "was not made: all of the payment had already been given back another way" in told
    waiting = await chats.answer(admin, f"/retry refund:stripe:{charge.provider_id}")
    assert "come to its end" in waiting.text()


@pytest.mark.criterion("S12")
async def test_a_declined_card_opens_nothing_and_the_invoice_stays_payable(shop: Shop) -> None:
    chats, buyer = shop.chats, shop.chats.people.buyer
    invoice = await shop.by_card()
    payment = await chats.pay(buyer, invoice, DECLINED_CARD)
    assert payment.state is PaymentState.CARD_DECLINED
    assert (await chats.answer(buyer, "/history")).text().startswith("You have paid nothing here yet")
    assert (await chats.pay(buyer, invoice)).state is PaymentState.PAID
    assert "30 days left" in (await chats.answer(buyer, "/status")).text()


@pytest.mark.criterion("C5", "N4")
async def test_each_way_to_pay_has_its_button_with_the_price_as_its_currency_has_it(shop: Shop) -> None:
    invoice = await shop.chats.answer(shop.chats.people.buyer, "/buy month")
    assert [button["text"] for button in invoice.buttons()] == [
        "Pay 200 ⭐",
        "By card: 4.99 USD",
        "By card: 700 JPY",
    ]
    without_prices = await shop.chats.answer(shop.chats.people.buyer, "/buy bundle")
    assert without_prices.buttons() == []


async def test_a_button_of_a_currency_that_is_not_sold_says_so(shop: Shop) -> None:
    buyer = shop.chats.people.buyer
    invoice = await shop.chats.answer(buyer, "/buy month")
    for data in ("card:month:EUR", "card:bundle:USD", "card:nothing:USD"):
        press = await shop.chats.press_altered(buyer, invoice, data)
        assert press.show_alert


async def test_with_the_channel_off_nothing_is_offered_by_card(database: Database) -> None:
    async with running_chats(database) as chats:
        invoice = await chats.answer(chats.people.buyer, "/buy month")
        assert invoice.buttons() == []
        press = await chats.press_altered(chats.people.buyer, invoice, "card:month:USD")
        assert press.show_alert


@pytest.fixture
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStripe]:
    async with running_localstripe(tmp_path_factory.mktemp("localstripe")) as local:
        yield local


async def test_localstripe_takes_the_money_and_gives_it_back(local: LocalStripe, sqlite_database: Database) -> None:
    api = StripeApi(STRIPE_KEY, local.url, session=None)
    async with running_chats(sqlite_database, stripe=api, settings=Settings(stripe_url=local.url)) as chats:
        buyer = chats.people.buyer
        shown = await chats.answer(buyer, "/buy month")
        await chats.press(buyer, shown, text="By card: 4.99 USD")
        payment = await chats.client.start_payment(buyer.id, message_id=(await chats.said(buyer.id))[-1].message_id)
        await chats.serve()
        assert (await chats.client.payment_end(payment.id)).state is PaymentState.PAID
        await chats.settle()
        [charge] = await chats.client.card_charges(buyer.id)
        assert (await local.call("GET", f"charges/{charge.provider_id}"))["amount"] == 499
        await chats.say(chats.people.admin, f"/refund stripe:{charge.provider_id}")
        await chats.settle()
        assert (await local.call("GET", f"charges/{charge.provider_id}"))["refunded"] is True
        assert "was given back" in (await chats.said(buyer.id))[-1].text()
    await api.close()
