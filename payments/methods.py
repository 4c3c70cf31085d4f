"""Payment methods, Stars and cards: how the audit table names each, its charges, its refunds and its grants.

`payments/channel.py` is the live end of a method, which calls its provider.
"""

from dataclasses import dataclass
from typing import Final

from db.states import STARS_CURRENCY, STRIPE, TELEGRAM_STARS

REFUND_ENDINGS: Final = ("refunded", "dispute_lost")
"""Ends of `event_type` that mark a refund, in rows of other services too."""
RETURN_ENDING: Final = "refund_failed"


@dataclass(frozen=True, slots=True)
class Method:
    """One payment method. The charges of two methods never share an `event_id` or a source of grants."""

    name: str
    """`stripe_events.payment_method`."""
    event_id_prefix: str
    """Before the provider's charge id in an `event_id`."""
    source_prefix: str
    """Before the `event_id` in the source of the grants that the charge pays for."""
    currency: str | None
    """The one currency of the method; None: every other one."""
    outside: str
    """`requested_by` of a refund that nobody requested from the desk."""
    gives_back_parts: bool
    """True if partial refunds are possible; otherwise a refund is of the whole charge."""

    @property
    def charge_type(self) -> str:
        """`stripe_events.event_type` of a charge by this method."""
        return f"{self.name}.successful_payment"

    @property
    def refund_type(self) -> str:
        """`stripe_events.event_type` of a refund by this method."""
        return f"{self.name}.refunded"

    @property
    def dispute_type(self) -> str:
        """`stripe_events.event_type` of a lost dispute by this method: the buyer's bank took the money."""
        return f"{self.name}.dispute_lost"

    @property
    def refund_failed_type(self) -> str:
        """`stripe_events.event_type` of a returned refund by this method, which counts the other way."""
        return f"{self.name}.refund_failed"

    def event_id(self, provider_charge_id: str) -> str:
        """Return the key of the audit row of a charge, from the provider's id of the charge."""
        return self.event_id_prefix + provider_charge_id

    def provider_charge_id(self, event_id: str) -> str:
        """Return the provider's id of a charge, from the key of its audit row."""
        return event_id.removeprefix(self.event_id_prefix)

    def source(self, event_id: str) -> str:
        """Return the source of the grants that a charge pays for."""
        return self.source_prefix + event_id


STARS: Final = Method(
    TELEGRAM_STARS,
    event_id_prefix="",
    source_prefix="telegram_stars:",
    currency=STARS_CURRENCY,
    outside="telegram",
    gives_back_parts=False,
)
"""Telegram Stars: Telegram refunds whole charges only (Bot API, refundStarPayment)."""
CARDS: Final = Method(
    STRIPE, event_id_prefix="stripe:", source_prefix="", currency=None, outside="stripe", gives_back_parts=True
)
"""Cards over Telegram's own payments, charged by Stripe."""

METHODS: Final = {method.name: method for method in (STARS, CARDS)}
"""All payment methods, by their names."""


def method_of(currency: str) -> Method:
    """Return the payment method of a currency: the one that has it as its own, else cards."""
    return next((method for method in METHODS.values() if method.currency == currency), CARDS)


def charge_of(source: str) -> str | None:
    """Return the `event_id` of the charge, by any method, that paid for a grant's source; None: no charge did."""
    for method in METHODS.values():
        if source.startswith(method.source(method.event_id(""))):
            return source.removeprefix(method.source_prefix)
    return None
