"""Facts about money, whoever tells them: a charge, a refund, a returned refund, a subscription's change of state."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final
from uuid import NAMESPACE_URL, uuid5

from db.tables import SubscriptionState
from payments.methods import Method, method_of

REFUND_PREFIX: Final = "refund:"
RETURNED_PREFIX: Final = "returned:"


def refund_id(charge_id: str, part: str | None = None) -> str:
    """Return a refund fact's `event_id`: the charge's, and for one of several the provider's id of it, or its row's."""
    return f"{REFUND_PREFIX}{charge_id}" if part is None else f"{REFUND_PREFIX}{charge_id}:{part}"


def apart_id(refund_event_id: str, telegram_id: int, amount: int, currency: str) -> str:
    """Return the UUID of a refund fact's row apart, for when another row has its key: every teller gets the same."""
    return str(uuid5(NAMESPACE_URL, f"{refund_event_id} {telegram_id} {amount} {currency}"))


def returned_id(refund_event_id: str) -> str:
    """Return the `event_id` of a returned refund's fact."""
    return RETURNED_PREFIX + refund_event_id


@dataclass(frozen=True, slots=True)
class Person:
    """The person of a fact: the Telegram id, and the name and language that came with it."""

    telegram_id: int
    username: str | None = None
    language_code: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeFact:
    """A payment by Telegram's word. `amount` is in the currency's minor unit (Stars: Stars); times are aware, UTC.

    `charge_id` is the `event_id` of its audit row; a card's has its method as a prefix. Only an update tells the flags,
    the end and its own id: None is unknown.
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
    # The same payment comes from an update and from the ledger: the update's id does not tell them apart.
    update_id: int | None = field(default=None, compare=False)

    @property
    def method(self) -> Method:
        """The payment method of a charge fact."""
        return method_of(self.currency)

    @property
    def event_id(self) -> str:
        """The key of a charge fact's audit row."""
        return self.charge_id

    @property
    def event_type(self) -> str:
        """The type of a charge fact's audit row."""
        return self.method.charge_type


@dataclass(frozen=True, slots=True)
class RefundFact:
    """A refund by its provider's word, whoever made it.

    `part` tells a refund from others of its charge: the provider's id of it, or its row's own if that was there first;
    None: the one row with neither. `is_dispute`: the buyer's bank took the money back; `reason` says why, if known.
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
        """The payment method of a refund fact's charge."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """The type of a refund fact's audit row."""
        return self.method.dispute_type if self.is_dispute else self.method.refund_type

    @property
    def event_id(self) -> str:
        """The key of a refund fact's audit row."""
        return refund_id(self.charge_id, self.part)

    @property
    def apart(self) -> "RefundFact":
        """The same refund fact for a row apart, beside another row that has its key."""
        return replace(self, part=apart_id(self.event_id, self.person.telegram_id, self.amount, self.currency))


@dataclass(frozen=True, slots=True)
class ReturnFact:
    """A refund that returned to the seller: the buyer's bank did not take it, or it was canceled.

    `refund_id` is its row's `event_id`; `happened_at` is when it returned; `reason` is the provider's word for why.
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
        """The payment method of a returned refund fact's charge."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """The type of a returned refund fact's audit row."""
        return self.method.refund_failed_type

    @property
    def event_id(self) -> str:
        """The key of a returned refund fact's audit row."""
        return returned_id(self.refund_id)


@dataclass(frozen=True, slots=True)
class SubscriptionFact:
    """A subscription's new state by Telegram's word: with user and payload, without charge and date."""

    kind: ClassVar = "subscription"
    charge_id: ClassVar = None
    event_type: ClassVar = "telegram_stars.subscription"

    person: Person
    payload: str
    state: SubscriptionState
    update_id: int

    @property
    def event_id(self) -> str:
        """The name of a subscription fact in logs."""
        return f"subscription:{self.update_id}"


MoneyFact = ChargeFact | RefundFact | ReturnFact
Fact = MoneyFact | SubscriptionFact
"""A fact that must be recorded before Telegram hears that its update arrived."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A recorded change of a subscription's state: by Telegram, or (with `charge_id`, the first charge) by the desk."""

    id: int
    state: SubscriptionState
    recorded_at: datetime
    update_id: int | None
    charge_id: str | None = None
