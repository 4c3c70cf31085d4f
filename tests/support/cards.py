"""Payments by card: as facts, and as the raw updates by which Telegram tells of them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from payments.incoming import ChargeFact, Person
from payments.methods import CARDS
from tests.support.clock import START
from tests.support.money import BUYER, SIGNER, charge, charge_update, order, plan


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
