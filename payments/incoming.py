"""Reads what bears money out of a raw update, by narrow models of our own.

Nothing new or odd elsewhere in the message can hide a payment, and a value that the database would not take (NUL, a
lone surrogate, too long, out of range) is found here, before the database is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from payments.errors import UnreadableMoneyError
from payments.payload import AMOUNT_MAX, TELEGRAM_ID_MAX

REFUND_PREFIX: Final = "refund:"
CHARGE_ID_LENGTH_MAX: Final = 1024
"""Seen are more than 128; PostgreSQL indexes 2,704 bytes at most, and `refund:` stands before a charge's id."""

_DATE_MAX: Final = 253_402_300_799  # the last second that datetime knows


@dataclass(frozen=True, slots=True)
class Person:
    """Who an update is about: the Telegram id, and the name and language that came with it."""

    telegram_id: int
    username: str | None = None
    language_code: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeFact:
    """A payment as Telegram tells it. `amount` in the currency's minor unit (Stars: Stars), times aware, UTC."""

    kind: ClassVar = "charge"

    charge_id: str
    person: Person
    amount: int
    currency: str
    payload: str
    happened_at: datetime
    is_recurring: bool = False
    is_first_recurring: bool = False
    subscription_expires_at: datetime | None = None

    @property
    def event_id(self) -> str:
        """The key of its audit row."""
        return self.charge_id


@dataclass(frozen=True, slots=True)
class RefundFact:
    """A refund as Telegram tells it, whoever made it."""

    kind: ClassVar = "refund"

    charge_id: str
    person: Person
    amount: int
    currency: str
    happened_at: datetime

    @property
    def event_id(self) -> str:
        """The key of its audit row."""
        return REFUND_PREFIX + self.charge_id


MoneyFact = ChargeFact | RefundFact


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None
    return text


_Text = Annotated[str, AfterValidator(_storable)]
_Seconds = Annotated[int, Field(ge=0, le=_DATE_MAX)]


class _Narrow(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Money(_Narrow):
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    total_amount: int = Field(gt=0, le=AMOUNT_MAX)
    telegram_payment_charge_id: Annotated[str, StringConstraints(pattern=rf"^[!-~]{{1,{CHARGE_ID_LENGTH_MAX}}}$")]
    invoice_payload: Annotated[_Text, StringConstraints(max_length=1024)]


class _SuccessfulPayment(_Money):
    is_recurring: bool = False
    is_first_recurring: bool = False
    subscription_expiration_date: _Seconds | None = None


class _Id(_Narrow):
    id: int = Field(gt=0, le=TELEGRAM_ID_MAX)


class _Message(_Narrow):
    date: _Seconds


class _PaymentMessage(_Message):
    sender: _Id = Field(alias="from")
    successful_payment: _SuccessfulPayment


class _RefundMessage(_Message):
    chat: _Id
    refunded_payment: _Money


def bears_money(update: Mapping[str, Any]) -> bool:
    """Tell whether a raw update is one that must be recorded before it is confirmed."""
    message = update.get("message")
    return isinstance(message, dict) and ("successful_payment" in message or "refunded_payment" in message)


def read_money(update: Mapping[str, Any]) -> MoneyFact:
    """Read the charge or the refund that a raw update bears.

    A payment's payer is the message's sender; a refund's message is the bot's own, so its person is the chat (Bot API,
    RefundedPayment). Raises UnreadableMoneyError, which names the fields and quotes no value.
    """
    message = update["message"]
    try:
        if "successful_payment" in message:
            return _charge(_PaymentMessage.model_validate(message), message["from"])
        return _refund(_RefundMessage.model_validate(message), message["chat"])
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UnreadableMoneyError("; ".join(wrong)) from None


def _charge(message: _PaymentMessage, sender: Mapping[str, Any]) -> ChargeFact:
    payment = message.successful_payment
    ends = payment.subscription_expiration_date
    return ChargeFact(
        charge_id=payment.telegram_payment_charge_id,
        person=_person(message.sender.id, sender),
        amount=payment.total_amount,
        currency=payment.currency,
        payload=payment.invoice_payload,
        happened_at=_time(message.date),
        is_recurring=payment.is_recurring,
        is_first_recurring=payment.is_first_recurring,
        subscription_expires_at=_time(ends) if ends else None,
    )


def _refund(message: _RefundMessage, chat: Mapping[str, Any]) -> RefundFact:
    money = message.refunded_payment
    return RefundFact(
        charge_id=money.telegram_payment_charge_id,
        person=_person(message.chat.id, chat),
        amount=money.total_amount,
        currency=money.currency,
        happened_at=_time(message.date),
    )


def _person(telegram_id: int, said: Mapping[str, Any]) -> Person:
    return Person(telegram_id, _name(said.get("username")), _name(said.get("language_code")))


def _name(value: object) -> str | None:
    # A name is a courtesy: an odd one is left out, and never stands between a payment and the audit table.
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 64 else None  # noqa: PLR2004 - twice Telegram's 32


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
