"""Plans, payments and refunds of the tests: as facts, and as Telegram's raw updates."""

from datetime import datetime
from typing import Any, Final

from db.states import STARS_CURRENCY
from payments.audit.facts import ChargeFact, Person, RefundFact
from payments.checkout import CheckoutQuery
from payments.notices import Admins
from payments.sale.catalog import Plan
from payments.sale.catalog_file import parse_catalog
from payments.sale.payload import Order, PayloadSigner
from tests.support.clock import START

TOKEN: Final = "1000001:the-token-in-use"
SIGNER: Final = PayloadSigner(TOKEN)

CATALOG: Final = parse_catalog(
    """
    [plans.month]
    title = "Premium, 30 days"
    description = "Everything, for 30 days"
    entitlement = "premium"
    stars = 200
    days = 30
    prices = { USD = 499, JPY = 700 }

    [plans.bundle]
    title = "Premium and archive"
    description = "Both, for 30 days"
    entitlement = ["premium", "archive"]
    stars = 300
    days = 30

    [plans.life]
    title = "Premium for life"
    description = "Everything, for ever"
    entitlement = "premium"
    stars = 1000

    [plans.old]
    title = "Premium, a week"
    description = "No longer sold"
    entitlement = "premium"
    stars = 50
    days = 7
    retired = true

    [plans.auto]
    title = "Premium, renewed monthly"
    description = "Renews every 30 days"
    entitlement = "premium"
    stars = 150
    subscription = true
    """,
    "the tests' catalog",
)

BUYER: Final = Person(5001, "buyer", "en")
STRANGER: Final = Person(5002, "stranger", "de")
ADMIN_CHAT_ID: Final = -1009
ADMINS: Final = Admins(group_id=ADMIN_CHAT_ID)


def plan(code: str) -> Plan:
    """Return a plan of the tests' catalog."""
    return CATALOG.plans[code]


def order(code: str, buyer: Person = BUYER) -> Order:
    """Return the order that an invoice for a plan signs."""
    sold = plan(code)
    return Order(sold.code, sold.days, sold.subscription, sold.price_stars, STARS_CURRENCY, buyer.telegram_id)


def charge(
    charge_id: str = "charge-1",
    code: str = "month",
    *,
    payer: Person = BUYER,
    buyer: Person | None = None,
    payload: str | None = None,
    at: datetime = START,
    ends_at: datetime | None = None,
    is_first: bool = False,
) -> ChargeFact:
    """Return a payment of a plan's invoice as it should be, but for what is said to be otherwise."""
    return ChargeFact(
        charge_id=charge_id,
        person=payer,
        amount=plan(code).price_stars,
        currency=STARS_CURRENCY,
        payload=SIGNER.sign(order(code, buyer or payer)) if payload is None else payload,
        happened_at=at,
        is_recurring=plan(code).subscription,
        is_first_recurring=is_first,
        subscription_expires_at=ends_at,
    )


def refund(charged: ChargeFact, at: datetime = START) -> RefundFact:
    """Return the refund of a charge as Telegram tells it."""
    return RefundFact(charged.charge_id, charged.person, charged.amount, charged.currency, at)


def charge_update(charged: ChargeFact, update_id: int = 1) -> dict[str, Any]:
    """Return the raw update by which Telegram tells of a payment (Bot API, SuccessfulPayment)."""
    payment = _money(charged) | {"invoice_payload": charged.payload}
    if charged.is_recurring:
        payment["is_recurring"] = True
    if charged.is_first_recurring:
        payment["is_first_recurring"] = True
    if charged.subscription_expires_at is not None:
        payment["subscription_expiration_date"] = int(charged.subscription_expires_at.timestamp())
    return _update(update_id, charged, sender=_person(charged.person), successful_payment=payment)


def refund_update(refunded: RefundFact, update_id: int = 2) -> dict[str, Any]:
    """Return the raw update by which Telegram tells of a refund, in a message of the bot's own (RefundedPayment)."""
    bot = {"id": 1000001, "is_bot": True, "first_name": "Desk", "username": "desk_bot"}
    return _update(update_id, refunded, sender=bot, refunded_payment=_money(refunded) | {"invoice_payload": ""})


def subscription_update(state: str, payload: str, update_id: int = 3, person: Person = BUYER) -> dict[str, Any]:
    """Return the raw update by which Telegram tells of a subscription's state (Bot API, BotSubscriptionUpdated)."""
    return {
        "update_id": update_id,
        "subscription": {"user": _person(person), "invoice_payload": payload, "state": state},
    }


def query(code: str = "month", buyer: Person = BUYER) -> CheckoutQuery:
    """Return the pre-checkout query of a plan's invoice."""
    signed = order(code, buyer)
    return CheckoutQuery("7001", buyer.telegram_id, signed.amount, signed.currency, SIGNER.sign(signed))


def _money(fact: ChargeFact | RefundFact) -> dict[str, Any]:
    return {
        "currency": fact.currency,
        "total_amount": fact.amount,
        "telegram_payment_charge_id": fact.charge_id,
        "provider_payment_charge_id": "",
    }


def _person(person: Person) -> dict[str, Any]:
    said = {"id": person.telegram_id, "is_bot": False, "first_name": "Somebody"}
    return said | {"username": person.username, "language_code": person.language_code}


def _update(update_id: int, fact: ChargeFact | RefundFact, *, sender: dict[str, Any], **money: Any) -> dict[str, Any]:
    chat = {"id": fact.person.telegram_id, "type": "private", "first_name": "Somebody"}
    chat["username"] = fact.person.username
    date = int(fact.happened_at.timestamp())
    return {"update_id": update_id, "message": {"message_id": 1, "date": date, "chat": chat, "from": sender, **money}}
