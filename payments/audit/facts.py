"""Facts about money from any source: a charge, a refund, a returned refund, a subscription's change of state."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final
from uuid import NAMESPACE_URL, uuid5

from db.states import SubscriptionState
from payments.methods import Method, method_of

REFUND_PREFIX: Final = "refund:"
RETURNED_PREFIX: Final = "returned:"


def refund_id(charge_id: str, part: str | None = None) -> str:
    """Make a refund's `event_id` from the charge's; `part` (RefundFact) tells it from other refunds of the charge."""
    return f"{REFUND_PREFIX}{charge_id}" if part is None else f"{REFUND_PREFIX}{charge_id}:{part}"


def apart_id(refund_event_id: str, telegram_id: int, amount: int, currency: str) -> str:
    """Make the UUID of a refund's row apart, for when another row has its key; every source gets the same UUID."""
    return str(uuid5(NAMESPACE_URL, f"{refund_event_id} {telegram_id} {amount} {currency}"))


def returned_id(refund_event_id: str) -> str:
    """Make a returned refund's `event_id` from the refund's."""
    return RETURNED_PREFIX + refund_event_id


@dataclass(frozen=True, slots=True)
class Person:
    """The person whom a fact is about: the Telegram id, and the name and language that came with the fact."""

    telegram_id: int
    username: str | None = None
    language_code: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeFact:
    """A payment, as Telegram tells of it. `amount` is in the currency's minor unit (Stars: Stars); times are aware.

    All times are UTC. `charge_id` is the `event_id` of its audit row; a card's begins with its method. Only an update
    has the flags, the end and its own id; None stands for unknown.
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
    # An update and the ledger tell of the same payment, so that their facts must be equal without the update's id.
    update_id: int | None = field(default=None, compare=False)

    @property
    def method(self) -> Method:
        """The payment method of the charge, by its currency."""
        return method_of(self.currency)

    @property
    def event_id(self) -> str:
        """The `event_id` of the charge's audit row."""
        return self.charge_id

    @property
    def event_type(self) -> str:
        """The `event_type` of the charge's audit row."""
        return self.method.charge_type


@dataclass(frozen=True, slots=True)
class RefundFact:
    """A refund, the desk's or another's, as the provider tells of it.

    `part` tells a refund from others of its charge: it is the provider's id of the refund, or the row's own id if the
    row came first; None: the one refund that needs neither. `is_dispute`: the buyer's bank took the money back.
    `reason` says why, if known.
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
        """The payment method of the refund and its charge, by the currency."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """The `event_type` of the refund's audit row."""
        return self.method.dispute_type if self.is_dispute else self.method.refund_type

    @property
    def event_id(self) -> str:
        """The `event_id` of the refund's audit row."""
        return refund_id(self.charge_id, self.part)

    @property
    def apart(self) -> "RefundFact":
        """The same fact for a row apart, beside the row of another event that has the refund's key."""
        return replace(self, part=apart_id(self.event_id, self.person.telegram_id, self.amount, self.currency))


@dataclass(frozen=True, slots=True)
class ReturnFact:
    """A refund that returned to the seller: the buyer's bank sent it back, or somebody canceled it.

    `refund_id` is the `event_id` of the refund's row; `happened_at` is the time of its return; `reason` is the
    provider's word for why.
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
        """The payment method of the returned refund and its charge, by the currency."""
        return method_of(self.currency)

    @property
    def event_type(self) -> str:
        """The `event_type` of the returned refund's audit row."""
        return self.method.refund_failed_type

    @property
    def event_id(self) -> str:
        """The `event_id` of the returned refund's audit row."""
        return returned_id(self.refund_id)


@dataclass(frozen=True, slots=True)
class SubscriptionFact:
    """A subscription's new state, as Telegram tells of it: with user and payload, without charge and date."""

    kind: ClassVar = "subscription"
    charge_id: ClassVar = None
    event_type: ClassVar = "telegram_stars.subscription"

    person: Person
    payload: str
    state: SubscriptionState
    update_id: int

    @property
    def event_id(self) -> str:
        """The id that stands for the subscription's change in logs."""
        return f"subscription:{self.update_id}"


MoneyFact = ChargeFact | RefundFact | ReturnFact
Fact = MoneyFact | SubscriptionFact
"""A fact that the desk must record before it confirms the update to Telegram."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A recorded change of a subscription's state: Telegram's, or (with `charge_id`, the first charge) the desk's."""

    id: int
    state: SubscriptionState
    recorded_at: datetime
    update_id: int | None
    charge_id: str | None = None
