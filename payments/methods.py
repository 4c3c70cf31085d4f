"""The ways to pay, as the audit table names them: pure facts of each, for whoever writes or reads a row.

`payments/channel.py` is the live end of a method: what is asked of its provider over the wire.
"""

from dataclasses import dataclass
from typing import Final

from db.tables import STARS_CURRENCY, STRIPE, TELEGRAM_STARS

REFUND_ENDINGS: Final = ("refunded", "dispute_lost")
"""Of `event_type`: by them other services tell of refunds, too."""
RETURN_ENDING: Final = "refund_failed"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to pay. Two methods never make the same `event_id` or the same source out of any two charges."""

    name: str
    """`stripe_events.payment_method`."""
    event_id_prefix: str
    """Before the provider's charge id in an `event_id`."""
    source_prefix: str
    """Before the `event_id` in the source of the grants that the charge pays for."""
    currency: str | None
    """The one currency that is paid by it; None: every other one."""
    outside: str
    """`requested_by` of a refund that the desk was not asked for."""
    gives_back_parts: bool
    """Whether a charge may go back in parts; otherwise a refund is of the whole charge."""

    @property
    def charge_type(self) -> str:
        """`stripe_events.event_type` of a charge."""
        return f"{self.name}.successful_payment"

    @property
    def refund_type(self) -> str:
        """`stripe_events.event_type` of a refund."""
        return f"{self.name}.refunded"

    @property
    def dispute_type(self) -> str:
        """`stripe_events.event_type` of a charge that the buyer's bank took back."""
        return f"{self.name}.dispute_lost"

    @property
    def refund_failed_type(self) -> str:
        """`stripe_events.event_type` of a refund that came back to the seller; its amount counts the other way."""
        return f"{self.name}.refund_failed"

    def event_id(self, provider_charge_id: str) -> str:
        """Return the key of a charge's audit row."""
        return self.event_id_prefix + provider_charge_id

    def provider_charge_id(self, event_id: str) -> str:
        """Return what the provider calls the charge of an audit row."""
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
"""Telegram Stars: Telegram gives back whole charges only (Bot API, refundStarPayment)."""
CARDS: Final = Method(
    STRIPE, event_id_prefix="stripe:", source_prefix="", currency=None, outside="stripe", gives_back_parts=True
)
"""Cards over Telegram's own payment, charged by Stripe."""

METHODS: Final = {method.name: method for method in (STARS, CARDS)}
"""All of them, by their names."""


def method_of(currency: str) -> Method:
    """Return by which way a currency is paid: by the method that it is the one of, by card otherwise."""
    return next((method for method in METHODS.values() if method.currency == currency), CARDS)


def charge_of(source: str) -> str | None:
    """Return the `event_id` of the charge that a source is of, None if it is of none."""
    for method in METHODS.values():
        if source.startswith(method.source(method.event_id(""))):
            return source.removeprefix(method.source_prefix)
    return None


def delay_source(charge_id: str) -> str:
    """Return the source of the grants that give back the time which a late settlement took."""
    return f"delay:{charge_id}"


def grace_source(charge_id: str) -> str:
    """Return the source of the grants that follow the last paid charge of a subscription whose renewal has failed."""
    return f"grace:{charge_id}"
