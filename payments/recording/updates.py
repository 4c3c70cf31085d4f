"""Reads the charge, refund or subscription change in a raw update, by narrow models (payments/recording/fields.py)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, ValidationInfo

from db.limits import AMOUNT_MAX
from db.states import STARS_CURRENCY, SubscriptionState
from payments.audit.facts import ChargeFact, Fact, Person, RefundFact, SubscriptionFact
from payments.errors import UnreadableMoneyError
from payments.methods import STARS, method_of
from payments.recording.fields import ChargeId, Id, Narrow, Payload, Seconds, moment, wrong_fields


def _read_for_cards_only(value: object, info: ValidationInfo) -> object:
    """Return the provider's charge id in an update of a card payment; None for Stars."""
    if method_of(info.data.get("currency", STARS_CURRENCY)) is STARS:
        return None
    if value is None:
        raise ValueError("is missing")
    return value


# No document tells what this field has for Stars: read it for cards alone.
_CardChargeId = Annotated[ChargeId | None, BeforeValidator(_read_for_cards_only)]


class _Money(Narrow):
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    total_amount: int = Field(gt=0, le=AMOUNT_MAX)
    telegram_payment_charge_id: ChargeId
    provider_payment_charge_id: _CardChargeId = Field(default=None, validate_default=True)
    invoice_payload: Payload

    @property
    def charge_id(self) -> str:
        """The `event_id` of the charge in an update."""
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


UNREAD: Final = "unread"
"""The key of an update that the poll could not read at all; its value says why (bot/poll/unreadable_batch.py)."""


def must_be_recorded(update: Mapping[str, Any]) -> bool:
    """Tell whether the desk must record a raw update before it confirms it: a payment, refund, subscription change."""
    message = update.get("message")
    is_payment = isinstance(message, dict) and ("successful_payment" in message or "refunded_payment" in message)
    return is_payment or "subscription" in update


def read_fact(update: Mapping[str, Any]) -> Fact:
    """Read the charge, refund or subscription change in a raw update. Raises UnreadableMoneyError.

    The payer of a payment is the message's sender. A refund's message is the bot's own, so its person is the chat (Bot
    API, RefundedPayment). The error names the wrong fields, without their values.
    """
    if UNREAD in update:
        raise UnreadableMoneyError(str(update[UNREAD]))
    try:
        if "subscription" in update:
            if update["update_id"] < 0:
                raise UnreadableMoneyError("update_id: is none that Telegram gives, and nothing else names this")
            return _subscription_fact(update["subscription"], update["update_id"])
        message = update["message"]
        if "successful_payment" in message:
            return _charge_fact(_PaymentMessage.model_validate(message), message["from"], update["update_id"])
        return _refund_fact(_RefundMessage.model_validate(message), message["chat"])
    except ValidationError as error:
        raise UnreadableMoneyError(wrong_fields(error)) from None


def _charge_fact(message: _PaymentMessage, sender: Mapping[str, Any], update_id: int) -> ChargeFact:
    """Return the charge in an update's payment message."""
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
        update_id=update_id if update_id >= 0 else None,
    )


def _refund_fact(message: _RefundMessage, chat: Mapping[str, Any]) -> RefundFact:
    """Return the refund in an update's refund message."""
    money = message.refunded_payment
    return RefundFact(
        charge_id=money.charge_id,
        person=person_of(message.chat, chat),
        amount=money.total_amount,
        currency=money.currency,
        happened_at=moment(message.date),
    )


def _subscription_fact(raw: Mapping[str, Any], update_id: int) -> SubscriptionFact:
    """Return the subscription change in a raw update."""
    told = _SubscriptionUpdated.model_validate(raw)
    person = person_of(told.user, raw["user"])
    return SubscriptionFact(person, told.invoice_payload, SubscriptionState(told.state), update_id)


def person_of(user: Id, said: Mapping[str, Any]) -> Person:
    """Return the person of a user or private chat in an update, with name and language from the raw JSON."""
    return Person(user.id, _printable_name(said.get("username")), _printable_name(said.get("language_code")))


def _printable_name(value: object) -> str | None:
    """Return an update's name or language if it is short, printable ASCII; else None."""
    # A name is a courtesy: the desk leaves an odd one out, and records the payment all the same.
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 64 else None  # noqa: PLR2004 - twice Telegram's 32
