"""Reads what bears money out of a raw update, by narrow models of our own (payments/narrow.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, ValidationInfo

from db.tables import STARS_CURRENCY, SubscriptionState
from payments.errors import UnreadableMoneyError
from payments.methods import STARS, Method, method_of
from payments.narrow import ChargeId, Id, Narrow, Payload, Seconds, in_words, moment
from payments.payload import AMOUNT_MAX

REFUND_PREFIX: Final = "refund:"
RETURNED_PREFIX: Final = "returned:"


def refund_id(charge_id: str, part: str | None = None) -> str:
    """Return the `event_id` of the refund of a charge, or of one of several by the provider's id or its row's own."""
    return f"{REFUND_PREFIX}{charge_id}" if part is None else f"{REFUND_PREFIX}{charge_id}:{part}"


def returned_id(refund_event_id: str) -> str:
    """Return the `event_id` of what says that a refund came back, by that of the refund."""
    return RETURNED_PREFIX + refund_event_id


@dataclass(frozen=True, slots=True)
class Person:
    """Who an update is about: the Telegram id, and the name and language that came with it."""

    telegram_id: int
    username: str | None = None
    language_code: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeFact:
    """A payment as Telegram tells it. `amount` in the currency's minor unit (Stars: Stars), times aware, UTC.

    `charge_id` is the `event_id` of its audit row: of a card's charge with the prefix of its method. Only an update
    tells the flags, the end and its own id: None is unknown.
    """

    kind: ClassVar = "charge"

    charge_id: str
    person: Person
    amount: int
    currency: str
    payload: str
    happened_at: datetime
    is_recurring: bool | None = False
    is_first_recurring: bool | None = False
    subscription_expires_at: datetime | None = None
    # Told twice, by an update and by the ledger, it is the same payment.
    update_id: int | None = field(default=None, compare=False)

    @property
    def method(self) -> Method:
        """The way by which it was paid."""
        return method_of(self.currency)

    @property
    def event_id(self) -> str:
        """The key of its audit row."""
        return self.charge_id

    @property
    def event_type(self) -> str:
        """What its audit row is of."""
        return self.method.charge_type


@dataclass(frozen=True, slots=True)
class RefundFact:
    """A refund as its provider tells it, whoever made it.

    `part` tells a refund from others of its charge: the provider's id of it, or its row's own if that was there first;
    None: the one row that says neither. `is_dispute`: the buyer's bank took the money back; `reason` says why, if that
    is known.
    """

    kind: ClassVar = "refund"

    charge_id: str
    person: Person
    amount: int
    currency: str
    happened_at: datetime
    part: str | None = None
    is_dispute: bool = False
    reason: str | None = None

    @property
    def method(self) -> Method:
        """The way by which the charge was paid."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """What its audit row is of."""
        return self.method.dispute_type if self.is_dispute else self.method.refund_type

    @property
    def event_id(self) -> str:
        """The key of its audit row."""
        return refund_id(self.charge_id, self.part)


@dataclass(frozen=True, slots=True)
class ReturnFact:
    """A refund that came back to the seller: the buyer's bank would not take it. `refund_id` is its row's `event_id`.

    `happened_at` is when it came back; `reason` is the provider's word for why.
    """

    kind: ClassVar = "returned refund"

    charge_id: str
    refund_id: str
    person: Person
    amount: int
    currency: str
    happened_at: datetime
    reason: str

    @property
    def method(self) -> Method:
        """The way by which the charge was paid."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """What its audit row is of."""
        return self.method.refund_failed_type

    @property
    def event_id(self) -> str:
        """The key of its audit row."""
        return returned_id(self.refund_id)


@dataclass(frozen=True, slots=True)
class SubscriptionFact:
    """A subscription's new state as Telegram tells it: it names the user and the payload, no charge and no date."""

    kind: ClassVar = "subscription"
    charge_id: ClassVar = None
    event_type: ClassVar = "telegram_stars.subscription"

    person: Person
    payload: str
    state: SubscriptionState
    update_id: int

    @property
    def event_id(self) -> str:
        """What it is called in logs."""
        return f"subscription:{self.update_id}"


MoneyFact = ChargeFact | RefundFact | ReturnFact
Fact = MoneyFact | SubscriptionFact
"""What is recorded before Telegram is told that it arrived."""


def _of_a_card(value: object, info: ValidationInfo) -> object:
    if method_of(info.data.get("currency", STARS_CURRENCY)) is STARS:
        return None
    if value is None:
        raise ValueError("is missing")
    return value


# What stands there for Stars is said nowhere: it is read of cards only.
_CardChargeId = Annotated[ChargeId | None, BeforeValidator(_of_a_card)]


class _Money(Narrow):
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    total_amount: int = Field(gt=0, le=AMOUNT_MAX)
    telegram_payment_charge_id: ChargeId
    provider_payment_charge_id: _CardChargeId = Field(default=None, validate_default=True)
    invoice_payload: Payload

    @property
    def charge_id(self) -> str:
        """The `event_id` of its charge."""
        if self.provider_payment_charge_id is None:
            return self.telegram_payment_charge_id
        return method_of(self.currency).event_id(self.provider_payment_charge_id)


class _SuccessfulPayment(_Money):
    is_recurring: bool = False
    is_first_recurring: bool = False
    subscription_expiration_date: Seconds | None = None


class _Message(Narrow):
    date: Seconds


class _PaymentMessage(_Message):
    sender: Id = Field(alias="from")
    successful_payment: _SuccessfulPayment


class _RefundMessage(_Message):
    chat: Id
    refunded_payment: _Money


class _SubscriptionUpdated(Narrow):
    user: Id
    invoice_payload: Payload
    state: Literal["active", "canceled", "failed"]


def bears_money(update: Mapping[str, Any]) -> bool:
    """Tell whether a raw update is one that must be recorded before it is confirmed: it can be about a subscription."""
    message = update.get("message")
    is_payment = isinstance(message, dict) and ("successful_payment" in message or "refunded_payment" in message)
    return is_payment or "subscription" in update


def read_money(update: Mapping[str, Any]) -> Fact:
    """Read the charge, the refund, or the subscription's new state that a raw update bears.

    A payment's payer is the message's sender; a refund's message is the bot's own, so its person is the chat (Bot API,
    RefundedPayment). Raises UnreadableMoneyError, which names the fields and quotes no value.
    """
    try:
        if "subscription" in update:
            return _subscription(update["subscription"], update["update_id"])
        message = update["message"]
        if "successful_payment" in message:
            return _charge(_PaymentMessage.model_validate(message), message["from"], update["update_id"])
        return _refund(_RefundMessage.model_validate(message), message["chat"])
    except ValidationError as error:
        raise UnreadableMoneyError(in_words(error)) from None


def _charge(message: _PaymentMessage, sender: Mapping[str, Any], update_id: int) -> ChargeFact:
    payment = message.successful_payment
    ends = payment.subscription_expiration_date
    return ChargeFact(
        charge_id=payment.charge_id,
        person=person_of(message.sender, sender),
        amount=payment.total_amount,
        currency=payment.currency,
        payload=payment.invoice_payload,
        happened_at=moment(message.date),
        is_recurring=payment.is_recurring,
        is_first_recurring=payment.is_first_recurring,
        subscription_expires_at=moment(ends) if ends else None,
        update_id=update_id,
    )


def _refund(message: _RefundMessage, chat: Mapping[str, Any]) -> RefundFact:
    money = message.refunded_payment
    return RefundFact(
        charge_id=money.charge_id,
        person=person_of(message.chat, chat),
        amount=money.total_amount,
        currency=money.currency,
        happened_at=moment(message.date),
    )


def _subscription(raw: Mapping[str, Any], update_id: int) -> SubscriptionFact:
    told = _SubscriptionUpdated.model_validate(raw)
    person = person_of(told.user, raw["user"])
    return SubscriptionFact(person, told.invoice_payload, SubscriptionState(told.state), update_id)


def person_of(user: Id, said: Mapping[str, Any]) -> Person:
    """Return the person of a user or a private chat, with the name and language of what was `said` raw."""
    return Person(user.id, _name(said.get("username")), _name(said.get("language_code")))


def _name(value: object) -> str | None:
    # A name is a courtesy: an odd one is left out, and never stands between a payment and the audit table.
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 64 else None  # noqa: PLR2004 - twice Telegram's 32
