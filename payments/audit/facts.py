"""What is told of money, as facts for the audit table: whoever tells it, and by whatever way it came."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final
from uuid import NAMESPACE_URL, uuid5

from db.tables import SubscriptionState
from payments.methods import Method, method_of

REFUND_PREFIX: Final = "refund:"
RETURNED_PREFIX: Final = "returned:"


def refund_id(charge_id: str, part: str | None = None) -> str:
    """Return the `event_id` of the refund of a charge, or of one of several by the provider's id or its row's own."""
    return f"{REFUND_PREFIX}{charge_id}" if part is None else f"{REFUND_PREFIX}{charge_id}:{part}"


def apart_id(refund_event_id: str, telegram_id: int, amount: int, currency: str) -> str:
    """Return the UUID of the row of a refund whose key another row has taken: the same, whoever tells of the refund."""
    return str(uuid5(NAMESPACE_URL, f"{refund_event_id} {telegram_id} {amount} {currency}"))


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

    @property
    def apart(self) -> "RefundFact":
        """The same refund in a row of its own beside another row that has its key."""
        return replace(self, part=apart_id(self.event_id, self.person.telegram_id, self.amount, self.currency))


@dataclass(frozen=True, slots=True)
class ReturnFact:
    """A refund that came back to the seller: not taken by the buyer's bank, or canceled.

    `refund_id` is its row's `event_id`; `happened_at` is when it came back; `reason` is the provider's word for why.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of state: told by Telegram, or (`charge_id`, the first one) made by the desk itself."""

    id: int
    state: SubscriptionState
    recorded_at: datetime
    update_id: int | None
    charge_id: str | None = None
