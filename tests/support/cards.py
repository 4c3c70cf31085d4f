"""Payments by card: as facts, as Telegram's raw updates, and as sold over a Stripe account."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from db.tables import StripeEvent
from payments.audit import events
from payments.audit.facts import ChargeFact, Person
from payments.methods import CARDS
from payments.settlement.worker import Worker
from payments.stripe.watch import StripeWatch
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMINS, BUYER, SIGNER, charge, charge_update, order, plan
from tests.support.stripe_account import StripeAccount


def card_charge(
    provider_id: str, code: str = "month", currency: str = "USD", *, payer: Person = BUYER, at: datetime = START
) -> ChargeFact:
    """Return a payment of a plan's invoice by card as it should be; `provider_id` is Stripe's charge id."""
    amount = plan(code).prices[currency]
    payload = SIGNER.sign(replace(order(code, payer), amount=amount, currency=currency))
    paid = charge(CARDS.event_id(provider_id), code, payer=payer, payload=payload, at=at)
    return replace(paid, amount=amount, currency=currency)


def card_update(charged: ChargeFact, update_id: int = 1) -> dict[str, Any]:
    """Return the raw update by which Telegram tells of a payment by card (Bot API, SuccessfulPayment)."""
    update = charge_update(charged, update_id)
    payment = update["message"]["successful_payment"]
    payment["telegram_payment_charge_id"] = f"telegram's own {update_id}".replace(" ", "_")
    payment["provider_payment_charge_id"] = CARDS.provider_charge_id(charged.event_id)
    return update


async def sell(desk: Desk, account: StripeAccount, payer: Person = BUYER) -> str:
    """Sell a month by card, and deliver what is told of it; return Stripe's charge id."""
    charge_id = account.charge(499)
    await desk.take(card_charge(charge_id, payer=payer, at=desk.clock()))
    await desk.deliver()
    return charge_id


async def read(watch: StripeWatch, worker: Worker) -> None:
    """Read Stripe's events, and let the worker do what has become due."""
    await watch.read_once()
    while await worker.work_once():
        pass


async def refunds(desk: Desk, charge_id: str) -> list[StripeEvent]:
    """Return the refund rows of a charge by card, by time."""
    async with desk.database.reading() as session:
        return list(await events.refunds_of(session, f"stripe:{charge_id}"))


async def hear_all_again(desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker) -> None:
    """Have Stripe tell of everything once more, to a process that has heard nothing of it; then work it off."""
    for each in list(account.events):
        account.tell(each["type"], each["data"]["object"])
    await read(StripeWatch(desk.database, watch._api, desk.clock, ADMINS, lambda: None, lost=None), worker)


async def assert_hearing_again_changes_nothing(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    """Assert that all rows stay as they are when a process that starts anew hears of everything once more."""
    async with desk.database.reading() as session:
        before = await dump(session)
    await hear_all_again(desk, account, watch, worker)
    async with desk.database.reading() as session:
        assert await dump(session) == before
